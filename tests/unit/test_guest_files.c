#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "guest/files.h"
#include "guest/mounts.h"
#include "guest/refusal.h"
#include "guest/users.h"

static char folder[] = "/tmp/test-files-XXXXXX";

static int set_up(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    return kage_remove_tree(folder);
}

static char *in_folder(const char *name)
{
    return kage_asprintf("%s/%s", folder, name);
}

static void normal_paths(void **state)
{
    static const char *const good[] = {"/",    "/a",   "/a/b", "/.a",
                                       "/..a", "/a..", "/a b", "/\xC3\xA4"};
    static const char *const bad[] = {"",      "a",     "./a",   "//",     "/a/",
                                      "/a//b", "/.",    "/..",   "/a/.",   "/a/..",
                                      "/./a",  "/../a", "/a\nb", "/a\x7F", "/a/./b"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(kage_path_is_normal(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(kage_path_is_normal(bad[i]));
}

static void mount_points(void **state)
{
    static const char *const good[] = {"/src", "/mnt/a", "/procs", "/dev-tools", "/home/sys"};
    static const char *const bad[] = {"/",        "/proc", "/proc/1", "/sys", "/sys/fs",
                                      "/dev/shm", "/dev",  "src",     "/a/.."};
    struct kage_refusal why = {0};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(kage_mount_point_check(good[i], &why), 0);
    assert_null(why.message);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(kage_mount_point_check(bad[i], &why), -1);
        assert_non_null(why.message);
    }
    kage_refusal_done(&why);
}

static void user_names(void **state)
{
    assert_true(kage_user_name_valid("tester"));
    assert_true(kage_user_name_valid("_a-9"));
    assert_false(kage_user_name_valid(""));
    assert_false(kage_user_name_valid("9a"));
    assert_false(kage_user_name_valid("-a"));
    assert_false(kage_user_name_valid("a:b"));
    assert_false(kage_user_name_valid("Root"));
    assert_true(kage_user_name_valid("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    assert_false(kage_user_name_valid("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void writes_and_reads(void **state)
{
    KAGE_CLEANUP(kage_freep) char *path = in_folder("deep/er/file");
    struct kage_refusal why = {0};
    struct kage_buf b = {0};
    struct stat st;

    assert_int_equal(kage_file_write(path, "a\0b", 3, 0640, -1, &why), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(kage_file_read(path, 3, &b, -1, &why), 0);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "a\0b", 3);
    assert_int_equal(kage_file_read(path, 2, &b, -7, &why), -1);
    assert_int_equal(why.code, -7);
    assert_int_equal(why.errnum, EFBIG);
    assert_int_equal(b.len, 3); /* untouched by the failure */
    kage_buf_done(&b);
    kage_refusal_done(&why);
}

static void replaces_links_instead_of_following(void **state)
{
    KAGE_CLEANUP(kage_freep) char *target = in_folder("target");
    KAGE_CLEANUP(kage_freep) char *link_path = in_folder("link");
    struct kage_refusal why = {0};
    struct kage_buf b = {0};

    assert_int_equal(kage_file_write(target, "kept", 4, 0600, -1, &why), 0);
    assert_int_equal(symlink(target, link_path), 0);
    assert_int_equal(kage_file_write(link_path, "new", 3, 0600, -1, &why), 0);
    assert_int_equal(kage_file_read(target, 100, &b, -1, &why), 0);
    assert_string_equal(b.data, "kept");
    kage_buf_done(&b);
}

static void reads_only_files(void **state)
{
    KAGE_CLEANUP(kage_freep) char *fifo = in_folder("fifo");
    struct kage_refusal why = {0};
    struct kage_buf b = {0};

    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(kage_file_read(fifo, 100, &b, -1, &why), -1); /* and does not block */
    assert_int_equal(kage_file_read(folder, 100, &b, -1, &why), -1);
    assert_int_equal(kage_file_read("/dev/zero", 100, &b, -1, &why), -1);
    assert_int_equal(kage_file_read("/proc/self/fd/0", 100, &b, -1, &why), -1);
    assert_int_equal(why.errnum, ELOOP);
    kage_refusal_done(&why);
}

static void removes_trees_without_following(void **state)
{
    KAGE_CLEANUP(kage_freep) char *tree = in_folder("tree");
    KAGE_CLEANUP(kage_freep) char *inner = in_folder("tree/a/b/c");
    KAGE_CLEANUP(kage_freep) char *outside = in_folder("outside/kept");
    KAGE_CLEANUP(kage_freep) char *outside_folder = in_folder("outside");
    KAGE_CLEANUP(kage_freep) char *link_path = in_folder("tree/a/link");
    struct kage_refusal why = {0};

    assert_int_equal(kage_make_folders(inner), 0);
    assert_int_equal(kage_file_write(outside, "x", 1, 0600, -1, &why), 0);
    assert_int_equal(symlink(outside_folder, link_path), 0);
    assert_int_equal(kage_remove_tree(tree), 0);
    assert_int_equal(access(tree, F_OK), -1);
    assert_int_equal(access(outside, F_OK), 0);
    assert_int_equal(kage_remove_tree(tree), 0); /* already gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normal_paths),
        cmocka_unit_test(mount_points),
        cmocka_unit_test(user_names),
        cmocka_unit_test(writes_and_reads),
        cmocka_unit_test(replaces_links_instead_of_following),
        cmocka_unit_test(reads_only_files),
        cmocka_unit_test(removes_trees_without_following),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
