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

#include <cmocka.h>

#include "common/base/alloc.h"
#include "plan_fixture.h"
#include "runner/spec/below.h"
#include "runner/template/checkpoint.h"
#include "runner/template/sparse.h"

#define MIB (1 << 20)

static char folder[] = "/tmp/kage-test-checkpoint-XXXXXX";

/* ---- paths ---- */

static void below(const char *outer, const char *inner, const char *want)
{
    KAGE_CLEANUP(kage_freep) char *got = kage_path_below(outer, inner);

    if (!want != !got || (want && strcmp(want, got) != 0))
        fail_msg("'%s' in '%s' is '%s'", inner, outer, got ? got : "(nowhere)");
}

static void test_below(void **state)
{
    below("/a/b", "/a/b", ".");
    below("/a/b", "/a/b/", ".");
    below("/a/b/", "/a/b/c", "c");
    below("/a/b", "/a//b/./c//d/", "c/d");
    below("/a/../x/b", "/x/c/../b/d", "d");
    below("/", "/a", "a");
    below("/", "/", ".");
    below("/a", "/../../a/b", "b");
    below("/a/b", "/a/bc", NULL);
    below("/a/b", "/a", NULL);
    below("/a/b", "/a/b/..", NULL);
    below("/a/b", "/a/b/../../b", NULL);
}

/* ---- sparse copies ---- */

static int file(off_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    return fd;
}

static void put(int fd, off_t at, const char *text, size_t len)
{
    assert_int_equal(pwrite(fd, text, len, at), (ssize_t)len);
}

static void same(int a, int b, size_t size)
{
    char *x = mmap(NULL, size, PROT_READ, MAP_SHARED, a, 0);
    char *y = mmap(NULL, size, PROT_READ, MAP_SHARED, b, 0);

    assert_true(x != MAP_FAILED && y != MAP_FAILED);
    assert_memory_equal(x, y, size);
    munmap(x, size);
    munmap(y, size);
}

static blkcnt_t blocks(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_blocks;
}

static void test_a_copy_is_the_same_and_as_empty(void **state)
{
    const off_t size = 64 * MIB;
    int from = file(size), to = file(size), steps = 1, r;
    char *zeros = kage_alloc(3 * MIB);
    off_t at = 0;

    put(from, 0, "first", 5);
    put(from, 5 * MIB - 3, "over a chunk's end", 18);
    put(from, 20 * MIB, zeros, 3 * MIB); /* there, and empty all the same */
    put(from, 40 * MIB + 4095, "xy", 2);
    put(from, size - 1, "z", 1);
    while ((r = kage_sparse_copy(from, to, size, &at, 1)) == 0)
        steps++;
    assert_int_equal(r, 1);
    assert_true(steps > 3);
    assert_true(blocks(to) <= 8 * 8);
    assert_true(blocks(from) > 3 * MIB / 512);
    same(from, to, (size_t)size); /* reading through a mapping fills holes */
    free(zeros);
    close(from);
    close(to);
}

static void test_nothing_and_everything(void **state)
{
    int from = file(MIB), to = file(MIB), all = file(MIB);
    char *full = kage_alloc(MIB);
    off_t at = 0;

    assert_int_equal(kage_sparse_copy(from, to, MIB, &at, 0), 1);
    assert_int_equal(blocks(to), 0);
    memset(full, 'f', MIB);
    put(from, 0, full, MIB);
    at = 0;
    assert_int_equal(kage_sparse_copy(from, to, MIB, &at, 0), 0);
    assert_int_equal(kage_sparse_copy(from, to, MIB, &at, UINT64_MAX), 1);
    same(from, to, MIB);
    assert_int_equal(kage_sparse_clone(from, all, MIB), 0);
    same(from, all, MIB);
    free(full);
    close(from);
    close(to);
    close(all);
}

/* ---- what became of the commands ---- */

static struct kage_plan *make_plan(struct fixture *f)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan = NULL;

    if (kage_plan_make(&f->spec, &f->facts, &plan, &err) < 0)
        fail_msg("%s", err.message);
    return plan;
}

/* The step of the n-th command, from 0. */
static size_t step_of(const struct kage_plan *plan, size_t n)
{
    size_t i = 0;

    while (plan->steps[i].kind != KAGE_STEP_SPAWN || n--)
        i++;
    return i;
}

static void test_the_past(void **state)
{
    static const char *const bad[] = {"",        "1",       "1 - ",    "1 - p3 4", "256 - p3",
                                      "p1 - p3", "1 - x",   "1 - p",   "1 - p3 ",  " 1 - p3",
                                      "1  - p3", "-1 - p3", "1 -- p3", "1 - p3x"};
    struct kage_past_command past[] = {{KAGE_PAST_PASSED, 1, NULL},
                                       {KAGE_PAST_NOT_RUN, 0, NULL},
                                       {KAGE_PAST_RUNNING, 0, TEXT("p3")}};
    KAGE_CLEANUP(kage_freep) char *text = kage_past_write(past, 3);
    struct kage_past_command *again;
    struct kage_plan *plan;
    struct fixture f;
    size_t n = 0;

    fixture_init(&f);
    f.commands[2].background = true;
    plan = make_plan(&f);
    assert_string_equal(text, "1 - p3");
    again = kage_past_read(text, plan, step_of(plan, 2), &n);
    assert_non_null(again);
    assert_int_equal(n, 3);
    assert_int_equal(again[0].past, KAGE_PAST_PASSED);
    assert_int_equal(again[0].exit_code, 1);
    assert_int_equal(again[1].past, KAGE_PAST_NOT_RUN);
    assert_int_equal(again[2].past, KAGE_PAST_RUNNING);
    assert_string_equal(again[2].handle, "p3");
    kage_past_free(again, n);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (kage_past_read(bad[i], plan, step_of(plan, 2), &n))
            fail_msg("'%s' was taken", bad[i]);
    assert_null(kage_past_read(NULL, plan, step_of(plan, 2), &n));
    assert_null(kage_past_read(text, plan, step_of(plan, 1), &n)); /* one too many */
    kage_plan_free(plan);
}

/* ---- keys ---- */

static char *key_of(struct fixture *f, size_t which)
{
    struct kage_checkpoints found = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan = make_plan(f);
    char *key;

    if (kage_checkpoints_find(plan, "template", SIZE_MAX, NULL, NULL, &found, &err) < 0)
        fail_msg("%s", err.message);
    assert_true(found.n > which);
    key = kage_strdup(found.items[which].key);
    kage_checkpoints_done(&found);
    kage_plan_free(plan);
    return key;
}

static void write_text(const char *name, const char *text)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_key(struct fixture *f, size_t which, const char *key, bool same_key)
{
    KAGE_CLEANUP(kage_freep) char *now = key_of(f, which);

    assert_int_equal(strlen(now), 32);
    if (!strcmp(now, key) != same_key)
        fail_msg("the key is %s", same_key ? "another" : "the same");
}

static void test_keys(void **state)
{
    static struct kage_spec_input inputs[] = {{.path = folder}};
    KAGE_CLEANUP(kage_freep) char *first = NULL;
    KAGE_CLEANUP(kage_freep) char *second = NULL;
    struct fixture f;

    write_text("in", "one");
    fixture_init(&f);
    f.shares[0].path = folder;
    f.commands[0].checkpoint = f.commands[1].checkpoint = true;
    first = key_of(&f, 0);
    second = key_of(&f, 1);
    assert_string_not_equal(first, second);
    /* what comes later, names and times do not count */
    f.commands[1].run = f.commands[2].run = TEXT("something else");
    f.commands[1].n_argv = 0;
    f.commands[0].name = TEXT("renamed");
    f.commands[0].timeout_ms = 1;
    f.commands[0].retries = 1;
    f.spec.timeout_ms = 1;
    expect_key(&f, 0, first, true);
    expect_key(&f, 1, second, false);
    /* what was run, and how it was judged, does */
    f.commands[0].when = KAGE_WHEN_ALWAYS;
    expect_key(&f, 0, first, false);
    f.commands[0].when = KAGE_WHEN_ON_SUCCESS;
    f.commands[0].expect = (int[]){3};
    expect_key(&f, 0, first, false);
    f.commands[0].expect = (int[]){0};
    expect_key(&f, 0, first, true);
    f.spec.network.outbound = true;
    expect_key(&f, 0, first, false);
    f.spec.network.outbound = false;
    /* inputs of the second command are the second checkpoint's */
    f.commands[1].inputs = inputs;
    f.commands[1].n_inputs = 1;
    expect_key(&f, 0, first, true);
    free(second);
    second = key_of(&f, 1);
    expect_key(&f, 1, second, true);
    write_text("in", "two");
    expect_key(&f, 0, first, true);
    expect_key(&f, 1, second, false);
    write_text("in", "one");
    expect_key(&f, 1, second, true);
    write_text("more", "");
    expect_key(&f, 1, second, false);
}

/* The program that tells whether a service is ready has an id after those of all commands. */
static void test_ready_is_not_moved_by_what_comes_later(void **state)
{
    KAGE_CLEANUP(kage_freep) char *three = NULL;
    struct fixture f;

    fixture_init(&f);
    f.commands[0].background = f.commands[0].checkpoint = true;
    f.commands[0].ready = (struct kage_spec_ready){
        .kind = KAGE_READY_EXEC, .exec = (char *[]){TEXT("true")}, .n_exec = 1, .timeout_ms = 1};
    three = key_of(&f, 0);
    f.spec.n_commands--;
    expect_key(&f, 0, three, true);
    f.commands[0].ready.exec[0] = TEXT("false");
    expect_key(&f, 0, three, false);
}

static void link_to(const char *target, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, name);

    unlink(path);
    assert_int_equal(symlink(target, path), 0);
}

static void test_an_input_that_is_a_link(void **state)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/link", folder);
    KAGE_CLEANUP(kage_freep) char *key = NULL;
    KAGE_CLEANUP(kage_freep) char *outside = NULL;
    struct kage_spec_input inputs[] = {{.path = path}};
    struct fixture f;

    write_text("in", "one");
    write_text("same", "one");
    link_to("in", "link");
    fixture_init(&f);
    f.shares[0].path = folder;
    f.commands[0].checkpoint = true;
    f.commands[0].inputs = inputs;
    f.commands[0].n_inputs = 1;
    key = key_of(&f, 0);
    write_text("in", "two");
    expect_key(&f, 0, key, false);
    write_text("in", "one");
    expect_key(&f, 0, key, true);
    link_to("same", "link");
    expect_key(&f, 0, key, false);
    /* what is not in the share is the guest's, which looks for it in a root of its own */
    link_to("/etc/passwd", "link");
    outside = key_of(&f, 0);
    assert_string_not_equal(outside, key);
    link_to("nowhere", "link");
    expect_key(&f, 0, outside, false);
    unlink(path);
}

static void test_inputs_that_are_not_there(void **state)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/none", folder);
    struct kage_spec_input inputs[] = {{.path = path, .loc = {"job.yaml", 9, 7}}};
    struct kage_checkpoints found = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan;
    struct fixture f;

    fixture_init(&f);
    f.shares[0].path = folder;
    f.commands[0].checkpoint = true;
    f.commands[0].inputs = inputs;
    f.commands[0].n_inputs = 1;
    plan = make_plan(&f);
    assert_int_equal(kage_checkpoints_find(plan, "t", SIZE_MAX, NULL, NULL, &found, &err), -1);
    assert_int_equal(err.class, KAGE_CLASS_SPEC);
    assert_int_equal(err.loc.line, 9);
    assert_non_null(strstr(err.message, "No such file"));
    kage_error_done(&err);
    kage_plan_free(plan);
    inputs[0].path = TEXT("/elsewhere");
    plan = NULL;
    assert_int_equal(kage_plan_make(&f.spec, &f.facts, &plan, &err), -1);
    assert_non_null(strstr(err.message, "none of the shares"));
    kage_error_done(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_below),
        cmocka_unit_test(test_a_copy_is_the_same_and_as_empty),
        cmocka_unit_test(test_nothing_and_everything),
        cmocka_unit_test(test_the_past),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_ready_is_not_moved_by_what_comes_later),
        cmocka_unit_test(test_an_input_that_is_a_link),
        cmocka_unit_test(test_inputs_that_are_not_there),
    };
    static const char *const left[] = {"in", "more", "same"};
    int r;

    if (!mkdtemp(folder))
        return 1;
    r = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, left[i]);

        unlink(path);
    }
    rmdir(folder);
    return r;
}
