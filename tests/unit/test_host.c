#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/host/accel.h"
#include "runner/host/cache.h"
#include "runner/host/child.h"
#include "runner/host/facts.h"
#include "runner/host/probe_guest.h"
#include "runner/host/qemu_program.h"

static char folder[] = "/tmp/kage-test-host-XXXXXX";

static int set_up(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    return setenv("XDG_CACHE_HOME", folder, 1);
}

static int tear_down(void **state)
{
    const char *argv[] = {"rm", "-rf", folder, NULL};
    struct kage_child child;
    int rc = kage_child_run(argv, -1, 10000, NULL, &child, NULL);

    kage_child_done(&child);
    return rc;
}

static void run(const char *script, unsigned timeout_ms, struct kage_child *child)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};

    assert_int_equal(kage_child_run(argv, -1, timeout_ms, NULL, child, NULL), 0);
}

static void test_child_output_and_code(void **state)
{
    struct kage_child child;

    run("echo out; echo err >&2; cat; exit 7", 10000, &child);
    assert_string_equal(child.out.data, "out\n");
    assert_string_equal(child.err.data, "err\n");
    assert_false(child.timed_out);
    assert_int_equal(WEXITSTATUS(child.status), 7);
    kage_child_done(&child);
}

static void test_child_is_bounded(void **state)
{
    struct kage_child child;

    run("yes | head -c 1000000", 10000, &child);
    assert_int_equal(child.out.len, KAGE_CHILD_OUTPUT);
    assert_int_equal(WEXITSTATUS(child.status), 0);
    kage_child_done(&child);
    run("exec sleep 60", 200, &child);
    assert_true(child.timed_out);
    assert_int_equal(WTERMSIG(child.status), SIGKILL);
    kage_child_done(&child);
    /* Closing its output does not let it outlive its time. */
    run("exec >/dev/null 2>&1; exec sleep 60", 200, &child);
    assert_true(child.timed_out);
    kage_child_done(&child);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static bool said_stop(const struct kage_child *child)
{
    return child->out.len >= 4 && memcmp(child->out.data, "stop", 4) == 0;
}

static void test_child_cut_short(void **state)
{
    const char *argv[] = {"/bin/sh", "-c", "echo stop; exec sleep 60", NULL};
    struct kage_child child;

    assert_int_equal(kage_child_run(argv, -1, 30000, said_stop, &child, NULL), 0);
    assert_true(child.cut_short);
    assert_false(child.timed_out);
    kage_child_done(&child);
}

static void test_cache(void **state)
{
    char *s, *path = kage_asprintf("%s/kage/host/a", folder);
    struct stat st;

    assert_null(kage_host_cache_get("a", "key", 0));
    kage_host_cache_put("a", "key", "an answer");
    s = kage_host_cache_get("a", "key", 60);
    assert_string_equal(s, "an answer");
    kage_freep(&s);
    assert_null(kage_host_cache_get("a", "ke", 0));
    assert_null(kage_host_cache_get("a", "key2", 0));
    assert_null(kage_host_cache_get("b", "key", 0));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* Cut off, or a link to somewhere else: as good as absent. */
    assert_int_equal(truncate(path, 8), 0);
    assert_null(kage_host_cache_get("a", "key", 0));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_null(kage_host_cache_get("a", "key", 0));
    kage_freep(&path);
}

static void test_cache_that_others_can_write(void **state)
{
    char *path = kage_asprintf("%s/kage/host", folder);

    kage_host_cache_put("a", "key", "x");
    assert_int_equal(chmod(path, 0777), 0);
    assert_null(kage_host_cache_get("a", "key", 0));
    assert_int_equal(chmod(path, 0700), 0);
    setenv("XDG_CACHE_HOME", "/dev/null/nowhere", 1);
    kage_host_cache_put("a", "key", "x");
    assert_null(kage_host_cache_get("a", "key", 0));
    setenv("XDG_CACHE_HOME", folder, 1);
    kage_freep(&path);
}

static void test_versions(void **state)
{
    int v[3];

    assert_true(kage_host_parse_version("7.2.22 (Debian", v));
    assert_int_equal(v[0] * 10000 + v[1] * 100 + v[2], 70222);
    assert_true(kage_host_parse_version("9.0", v));
    assert_int_equal(v[2], 0);
    assert_false(kage_host_parse_version("9", v));
    assert_false(kage_host_parse_version("x", v));
    assert_false(kage_host_parse_version("", v));
    assert_false(kage_host_parse_version("99999999999.1", v));
}

static int read_text(const char *text, struct kage_host_facts *facts, struct kage_error *err)
{
    char *path = kage_asprintf("%s/host.json", folder);
    FILE *f = fopen(path, "w");
    int rc;

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    rc = kage_host_read(path, facts, err);
    kage_freep(&path);
    return rc;
}

static void test_read(void **state)
{
    static const char *const bad[] = {
        "[]",
        "{\"os\":\"linux\"}",
        "{\"os\":\"plan9\",\"arch\":\"x86_64\",\"accelerators\":[]}",
        "{\"os\":\"linux\",\"arch\":\"host\",\"accelerators\":[]}",
        "{\"os\":\"linux\",\"arch\":\"x86_64\",\"accelerators\":[\"auto\"]}",
        "{\"os\":\"linux\",\"arch\":\"x86_64\",\"accelerators\":\"kvm\"}",
        "{\"os\":\"linux\",\"arch\":\"x86_64\",\"accelerators\":[],\"kvm\":true}",
        "{\"os\":\"linux\",\"arch\":\"x86_64\",\"accelerators\":[],\"qemu_version\":\"new\"}",
        "{\"os\":\"linux\",\"os\":\"linux\",\"arch\":\"x86_64\",\"accelerators\":[]}",
    };
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_host_facts facts;

    assert_int_equal(read_text("{\"os\":\"macos\",\"arch\":\"aarch64\",\"qemu_version\":\"9.1\","
                               "\"accelerators\":[\"tcg\",\"hvf\"],\"kvm_why\":\"x\"}",
                               &facts, &err),
                     0);
    assert_true(facts.hvf);
    assert_false(facts.kvm);
    assert_string_equal(facts.qemu, "qemu-system-aarch64");
    assert_int_equal(facts.qemu_version[0], 9);
    assert_string_equal(facts.kvm_why, "x");
    kage_host_facts_done(&facts);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (read_text(bad[i], &facts, &err) == 0)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(strstr(err.message, "host.json"));
        kage_error_done(&err);
    }
}

static void test_missing_qemu(void **state)
{
    struct kage_host_facts facts = {.arch = KAGE_ARCH_AARCH64};
    struct kage_error err = KAGE_ERROR_INIT;
    char *path = kage_strdup(getenv("PATH"));

    setenv("PATH", ".:/nonexistent", 1);
    assert_int_equal(kage_host_find_qemu(KAGE_ARCH_X86_64, &facts, &err), -1);
    setenv("PATH", path, 1);
    assert_int_equal(err.class, KAGE_CLASS_HOST);
    assert_non_null(strstr(err.message, "apt-get install qemu-system-x86"));
    kage_error_done(&err);
    kage_freep(&path);
}

/* A "QEMU" that is none. */
static void test_broken_qemu(void **state)
{
    char *program = kage_asprintf("%s/qemu-system-x86_64", folder);
    char *path = kage_strdup(getenv("PATH"));
    struct kage_host_facts facts = {.arch = KAGE_ARCH_X86_64};
    struct kage_error err = KAGE_ERROR_INIT;
    FILE *f = fopen(program, "w");

    assert_non_null(f);
    fputs("#!/bin/sh\necho 'libfoo.so: cannot open' >&2\nexit 127\n", f);
    fclose(f);
    chmod(program, 0755);
    setenv("PATH", folder, 1);
    assert_int_equal(kage_host_find_qemu(KAGE_ARCH_X86_64, &facts, &err), -1);
    setenv("PATH", path, 1);
    assert_non_null(strstr(err.message, "code 127: libfoo.so"));
    kage_error_done(&err);
    kage_host_facts_done(&facts);
    unlink(program);
    kage_freep(&program);
    kage_freep(&path);
}

/* The test guest gets through where guests run for certain. */
static void test_guest_runs_under_emulation(void **state)
{
    struct kage_host_facts facts;
    struct kage_error err = KAGE_ERROR_INIT;
    char *why = NULL;

    if (kage_host_probe(KAGE_ARCH_HOST, KAGE_ACCEL_TCG, &facts, &err) < 0) {
        print_message("skipped: %s\n", err.message);
        kage_error_done(&err);
        skip();
    }
    assert_true(facts.qemu_version[0] > 0);
    if (kage_host_try_accel(&facts, "tcg", &why) != 0)
        fail_msg("%s", why);
    assert_null(why);
    kage_host_facts_done(&facts);
}

/* Whatever the machine has, the probe ends, says why not, and says the same again from the cache,
 * where the answer is. */
static void test_probe_is_cached(void **state)
{
    struct kage_host_facts a, b;
    struct kage_error err = KAGE_ERROR_INIT;

    if (kage_host_probe(KAGE_ARCH_HOST, KAGE_ACCEL_AUTO, &a, &err) < 0) {
        print_message("skipped: %s\n", err.message);
        kage_error_done(&err);
        skip();
    }
    assert_int_equal(kage_host_probe(KAGE_ARCH_HOST, KAGE_ACCEL_AUTO, &b, &err), 0);
    assert_int_equal(a.kvm, b.kvm);
    if (strcmp(a.os, "linux") == 0 && !a.kvm) {
        assert_string_equal(a.kvm_why, b.kvm_why);
        print_message("kvm: %s\n", a.kvm_why);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    kage_host_facts_done(&a);
    kage_host_facts_done(&b);
}

static void test_stages_have_words(void **state)
{
    for (size_t i = 0; i < 12; i++)
        assert_true(strlen(kage_probe_stage(i)) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_output_and_code),
        cmocka_unit_test(test_child_is_bounded),
        cmocka_unit_test(test_child_cut_short),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_cache_that_others_can_write),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_missing_qemu),
        cmocka_unit_test(test_broken_qemu),
        cmocka_unit_test(test_guest_runs_under_emulation),
        cmocka_unit_test(test_probe_is_cached),
        cmocka_unit_test(test_stages_have_words),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
