#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/session/place.h"

static char folder[] = "/tmp/kage-test-place-XXXXXX";

/* Whether `to` leads to the folder at `at` (below the test's) and the name. */
static void leads(const char *to, const char *at, const char *want)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, at);
    KAGE_CLEANUP(kage_freep) char *name = NULL;
    struct kage_error err = KAGE_ERROR_INIT;
    KAGE_CLEANUP(kage_closep) int fd = kage_place_open(folder, to, "source", &name, &err);
    struct stat a, b;

    if (fd < 0)
        fail_msg("%s: %s", to, err.message);
    assert_string_equal(name, want);
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(stat(path, &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
}

static void refused(const char *to, const char *words)
{
    struct kage_error err = KAGE_ERROR_INIT;
    char *name = NULL;

    assert_int_equal(kage_place_open(folder, to, "source", &name, &err), -1);
    assert_null(name);
    if (!strstr(err.message, words))
        fail_msg("'%s' does not say '%s'", err.message, words);
    kage_error_done(&err);
}

static void test_places(void **state)
{
    leads("file", "", "file");
    leads("./", "", "source");
    leads("a/", "a", "source");
    leads("a/b", "a", "b");
    leads("c/d/e/", "c/d/e", "source");
    leads("c/d/e/f", "c/d/e", "f");
}

/* A guest that could write to the folder before may have left anything there. */
static void test_nothing_is_followed(void **state)
{
    KAGE_CLEANUP(kage_freep) char *link = kage_asprintf("%s/link", folder);
    KAGE_CLEANUP(kage_freep) char *file = kage_asprintf("%s/plain", folder);
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(symlink("/tmp", link), 0);
    refused("link/", "links are not followed");
    refused("link/x", "links are not followed");
    refused("a/../link/x/", "links are not followed");
    refused("plain/x", "no folder");
    leads("link", "", "link"); /* as a name it is replaced, not followed */
}

static int set_up(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    KAGE_CLEANUP(kage_freep) char *command = kage_asprintf("rm -r '%s'", folder);

    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_nothing_is_followed),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
