#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/error.h"
#include "runner/copy/pack.h"
#include "runner/copy/unpack.h"

/* A folder to unpack into, with a neighbour that nothing may touch, and an archive made by hand:
 * what a guest sends need not come from tar. */
struct box {
    char *dir;
    int target, tar;
    struct archive *a;
    struct kage_unpack where;
    struct kage_unpacked done;
    struct kage_error err;
};

/* Runs a line of shell in the box. */
static void command(const char *line)
{
    assert_int_equal(system(line), 0);
}

static int setup(void **state)
{
    struct box *b = kage_alloc(sizeof *b);
    char path[] = "/tmp/kage-copy-XXXXXX";

    b->dir = kage_strdup(mkdtemp(path));
    assert_int_equal(chdir(b->dir), 0);
    command("mkdir target outside; echo precious > outside/file");
    b->target = open("target", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    b->tar = memfd_create("tar", MFD_CLOEXEC);
    b->a = archive_write_new();
    archive_write_set_format_gnutar(b->a);
    assert_int_equal(archive_write_open_fd(b->a, b->tar), ARCHIVE_OK);
    b->where = (struct kage_unpack){
        .folder = b->target, .strip = "x", .top = "x", .max_size = 1024 * 1024};
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;

    /* Whatever came: what lies beside the target is as it was. */
    command("test \"$(cat outside/file)\" = precious");
    command("test \"$(ls outside)\" = file && test \"$(ls | tr '\\n' ' ')\" = 'outside target '");
    command("chmod -R u+w . && rm -rf outside target && rmdir \"$PWD\"");
    assert_int_equal(chdir("/"), 0);
    close(b->target);
    close(b->tar);
    kage_error_done(&b->err);
    free(b->dir);
    free(b);
    return 0;
}

static void add(struct box *b, const char *name, mode_t type, mode_t mode, const char *text,
                bool hard)
{
    struct archive_entry *e = archive_entry_new();

    archive_entry_copy_pathname(e, name);
    archive_entry_set_filetype(e, type);
    archive_entry_set_perm(e, mode);
    archive_entry_set_mtime(e, 1577934245, 0);
    if (type == AE_IFLNK)
        archive_entry_copy_symlink(e, text);
    else if (hard)
        archive_entry_copy_hardlink(e, text);
    else if (type == AE_IFREG)
        archive_entry_set_size(e, (la_int64_t)strlen(text));
    assert_int_equal(archive_write_header(b->a, e), ARCHIVE_OK);
    if (type == AE_IFREG && !hard)
        archive_write_data(b->a, text, strlen(text));
    archive_entry_free(e);
}

static void folder(struct box *b, const char *name)
{
    add(b, name, AE_IFDIR, 0755, NULL, false);
}

static void file(struct box *b, const char *name, const char *text)
{
    add(b, name, AE_IFREG, 0644, text, false);
}

static int unpack(struct box *b)
{
    archive_write_close(b->a);
    archive_write_free(b->a);
    lseek(b->tar, 0, SEEK_SET);
    return kage_unpack(&b->where, b->tar, &b->done, &b->err);
}

static void refused(struct box *b, const char *why)
{
    assert_int_equal(unpack(b), -1);
    if (!strstr(b->err.message, why))
        fail_msg("'%s' is not in: %s", why, b->err.message);
}

/* For artifacts: files and folders, and nothing that leads to what was there before. */
static void test_only_plain_things(void **state)
{
    struct box *b = *state;
    struct stat st;

    b->where.plain = true;
    add(b, "x/file", AE_IFREG, 0644, "f", false);
    add(b, "x/link", AE_IFLNK, 0777, "../outside/file", false);
    add(b, "x/hard", AE_IFREG, 0644, "x/file", true);
    add(b, "x/fifo", AE_IFIFO, 0644, NULL, false);
    file(b, "x/deep/file", "d");
    assert_int_equal(unpack(b), 0);
    assert_int_equal(b->done.left_out, 2);
    assert_int_equal(lstat("target/x/link", &st), -1);
    assert_int_equal(stat("target/x/hard", &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(stat("target/x/deep/file", &st), 0);
}

static void test_hard_link_to_what_was_there(void **state)
{
    struct box *b = *state;

    command("mkdir target/x; echo old > target/x/old");
    b->where.plain = true;
    add(b, "x/new", AE_IFREG, 0644, "x/old", true);
    refused(b, "cannot copy what is linked to by 'x/new'");
    command("test ! -e target/x/new");
}

static void test_control_characters(void **state)
{
    struct box *b = *state;

    b->where.plain = true;
    file(b, "x/a\nb", "text");
    refused(b, "cannot accept control characters in the name 'x/a\\x0ab'");
}

static void test_limit_by_its_name(void **state)
{
    struct box *b = *state;

    b->where.limit = "the limit for artifacts";
    b->where.max_size = 3 * KAGE_UNPACK_ENTRY_COST;
    for (int i = 0; i < 4; i++)
        file(b, "x/file", "t");
    refused(b, "more came from the guest than the limit for artifacts allows");
}

static void test_plain(void **state)
{
    struct box *b = *state;
    struct stat st;

    add(b, "./x", AE_IFDIR, 0510, NULL, false); /* not even we could write into it */
    add(b, "x/set", AE_IFREG, 07755, "s", false);
    add(b, "x/link", AE_IFLNK, 0777, "/etc/passwd", false);
    add(b, "x/hard", AE_IFREG, 0644, "x/set", true);
    add(b, "x/fifo", AE_IFIFO, 0644, NULL, false);
    add(b, "x/device", AE_IFCHR, 0666, NULL, false);
    file(b, "x/deep/er/file", "d");
    assert_int_equal(unpack(b), 0);
    assert_int_equal(b->done.left_out, 2);
    assert_int_equal(stat("target/x", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0510);
    assert_int_equal(st.st_mtime, 1577934245);
    assert_int_equal(stat("target/x/set", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(lstat("target/x/fifo", &st), -1);
    command(
        "test \"$(cat target/x/hard)\" = s && test -L target/x/link && cat target/x/deep/er/file "
        "> /dev/null");
}

static void test_climbing(void **state)
{
    file(*state, "x/../../outside/file", "evil");
    refused(*state, "climbing name");
}

static void test_climbing_in_a_hard_link(void **state)
{
    add(*state, "x/stolen", AE_IFREG, 0644, "x/../../outside/file", true);
    refused(*state, "climbing name");
}

static void test_absolute(void **state)
{
    struct box *b = *state;
    KAGE_CLEANUP(kage_freep) char *name = kage_asprintf("%s/outside/file", b->dir);

    file(b, name, "evil");
    refused(b, "absolute name");
}

static void test_through_its_own_link(void **state)
{
    folder(*state, "x");
    add(*state, "x/out", AE_IFLNK, 0777, "../../outside", false);
    file(*state, "x/out/file", "evil");
    refused(*state, "enter the folder of");
}

static void test_link_becomes_folder(void **state)
{
    folder(*state, "x");
    add(*state, "x/out", AE_IFLNK, 0777, "../../outside", false);
    folder(*state, "x/out");
    refused(*state, "make the folder");
}

static void test_folder_becomes_link(void **state)
{
    folder(*state, "x");
    folder(*state, "x/out");
    add(*state, "x/out", AE_IFLNK, 0777, "../../outside", false);
    refused(*state, "make the link");
}

/* A file that is there is replaced, never written into: it may be a link, or have other names. */
static void test_file_in_the_place_of_a_link(void **state)
{
    struct stat st;

    command("mkdir target/x; ln -s ../../outside/file target/x/a; ln outside/file target/x/b");
    file(*state, "x/a", "new");
    file(*state, "x/b", "new");
    assert_int_equal(unpack(*state), 0);
    assert_int_equal(lstat("target/x/a", &st), 0);
    assert_true(S_ISREG(st.st_mode));
    command("test \"$(cat target/x/a target/x/b)\" = newnew");
}

static void test_hard_link_to_a_link(void **state)
{
    folder(*state, "x");
    add(*state, "x/out", AE_IFLNK, 0777, "../../outside/file", false);
    add(*state, "x/stolen", AE_IFREG, 0644, "x/out", true);
    refused(*state, "linked to");
}

static void test_another_name(void **state)
{
    file(*state, "y", "evil");
    refused(*state, "not asked for");
}

static void test_a_file_for_a_folder(void **state)
{
    struct box *b = *state;

    b->where.top = "";
    file(b, "x", "evil");
    refused(b, "place of a folder");
}

static void test_contents(void **state)
{
    struct box *b = *state;
    struct stat before, after;

    b->where.top = "";
    b->where.strip = ".";
    assert_int_equal(fstat(b->target, &before), 0);
    add(b, "./", AE_IFDIR, 0700, NULL, false);
    file(b, "./in", "y");
    assert_int_equal(unpack(b), 0);
    assert_int_equal(stat("target/in", &after), 0);
    assert_int_equal(fstat(b->target, &after), 0);
    assert_int_equal(after.st_mode, before.st_mode);
}

static void test_too_many(void **state)
{
    struct box *b = *state;
    char name[32];

    b->where.max_size = 100 * KAGE_UNPACK_ENTRY_COST;
    for (int i = 0; i < 101; i++) {
        snprintf(name, sizeof name, "x/%d", i);
        file(b, name, "");
    }
    refused(b, "--max-size");
}

static void test_too_large(void **state)
{
    struct box *b = *state;

    b->where.max_size = KAGE_UNPACK_ENTRY_COST + 3;
    file(b, "x", "1234");
    refused(b, "--max-size");
}

static void test_damaged(void **state)
{
    struct box *b = *state;

    b->where.max_size = (uint64_t)1 << 40;
    file(b, "x", "text");
    archive_write_close(b->a);
    archive_write_free(b->a);
    assert_int_equal(ftruncate(b->tar, 514), 0); /* in the middle of the bytes */
    lseek(b->tar, 0, SEEK_SET);
    assert_int_equal(kage_unpack(&b->where, b->tar, &b->done, &b->err), -1);
    assert_non_null(strstr(b->err.message, "damaged"));
}

static void test_not_an_archive(void **state)
{
    struct box *b = *state;

    archive_write_free(b->a);
    assert_int_equal(ftruncate(b->tar, 0), 0);
    lseek(b->tar, 0, SEEK_SET);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(write(b->tar, "nonsense", 8), 8);
    lseek(b->tar, 0, SEEK_SET);
    assert_int_equal(kage_unpack(&b->where, b->tar, &b->done, &b->err), -1);
    assert_non_null(strstr(b->err.message, "damaged"));
}

static void test_nothing(void **state)
{
    struct box *b = *state;

    archive_write_free(b->a);
    assert_int_equal(ftruncate(b->tar, 0), 0);
    lseek(b->tar, 0, SEEK_SET);
    assert_int_equal(kage_unpack(&b->where, b->tar, &b->done, &b->err), 0);
    assert_int_equal(b->done.entries, 0);
}

static void test_pack_and_unpack(void **state)
{
    struct box *b = *state;
    struct kage_pack what = {.source = "outside", .top = "x", .mode = -1};

    archive_write_free(b->a);
    assert_int_equal(ftruncate(b->tar, 0), 0);
    lseek(b->tar, 0, SEEK_SET);
    assert_int_equal(kage_pack(&what, b->tar, &b->err), 0);
    lseek(b->tar, 0, SEEK_SET);
    assert_int_equal(kage_unpack(&b->where, b->tar, &b->done, &b->err), 0);
    command("test \"$(cat target/x/file)\" = precious");
    what.only_file = true;
    assert_int_equal(kage_pack(&what, b->tar, &b->err), -1);
    assert_non_null(strstr(b->err.message, "not a regular file"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_only_plain_things),
        CASE(test_hard_link_to_what_was_there),
        CASE(test_control_characters),
        CASE(test_limit_by_its_name),
        CASE(test_plain),
        CASE(test_climbing),
        CASE(test_climbing_in_a_hard_link),
        CASE(test_absolute),
        CASE(test_through_its_own_link),
        CASE(test_link_becomes_folder),
        CASE(test_folder_becomes_link),
        CASE(test_file_in_the_place_of_a_link),
        CASE(test_hard_link_to_a_link),
        CASE(test_another_name),
        CASE(test_a_file_for_a_folder),
        CASE(test_contents),
        CASE(test_too_many),
        CASE(test_too_large),
        CASE(test_damaged),
        CASE(test_not_an_archive),
        CASE(test_nothing),
        CASE(test_pack_and_unpack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
