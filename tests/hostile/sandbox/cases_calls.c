#include "box.h"
#include "cases.h"

#include "sandbox/policy.h"

#include <errno.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include <cmocka.h>

#define USER "--uid 1000 --gid 1000 "

/* The value of errno as the probe prints it. */
static const char *error_name(int errnum)
{
    return errnum ? strerrorname_np(errnum) : "ok";
}

/*
 * Every call of the table with nonsense for arguments. What is refused must give
 * the table's errno. What is allowed must give what the same call gives without
 * a filter (`bare`, NULL if that is not known): the same user, everything else
 * alike. An EPERM of the kernel's own is so told from one of the filter's.
 */
static void check_walk(const struct box *filtered, const struct box *bare,
                       enum kage_policy_profile profile)
{
    int checked = 0;
    for (size_t i = 0; i < kage_policy_group_count; i++) {
        const struct kage_policy_group *g = &kage_policy_groups[i];
        enum kage_rule rule = g->rule[profile];
        const char *cursor = NULL;
        const char *name;
        size_t len;
        while ((len = kage_policy_next(g, &cursor, &name)) > 0) {
            char copy[64];
            snprintf(copy, sizeof copy, "%.*s", (int)len, name);
            if (seccomp_syscall_resolve_name(copy) < 0 || rule >= KAGE_RULE_CONDITIONS)
                continue;
            if (rule != KAGE_RULE_ALLOW) {
                box_expect(filtered, copy, error_name(kage_rule_errno(rule)));
            } else if (bare) {
                char want[64];
                const char *line = box_line(bare, copy);
                assert_non_null(line);
                snprintf(want, sizeof want, "%s", line);
                /* A call that had to be interrupted where it is free (sync on a busy disk) may be
                 * quick behind the filter; that it went through is what counts. */
                if (strcmp(want, "signal 14") != 0)
                    box_expect(filtered, copy, want);
                else if (strcmp(box_line(filtered, copy), "EPERM") == 0)
                    fail_msg("%s: EPERM", copy);
            }
            checked++;
        }
    }
    assert_true(checked > 200);
}

/* The helper sets it with every filter, and some calls depend on it. */
static void set_no_new_privs(void *arg)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void walk_as_user(const char *options, enum kage_policy_profile profile)
{
    static struct box bare;
    static struct box filtered;
    box_start_prepared(&bare, USER "--profile none", "PROBE walk", set_no_new_privs, NULL);
    box_finish(&bare);
    assert_true(bare.exited);
    box_run(&filtered, options, "PROBE walk");
    check_walk(&filtered, &bare, profile);
}

/* Root without a filter would do some of these things; only refusals are compared. */
static void walk_as_root(const char *options, enum kage_policy_profile profile)
{
    static struct box filtered;
    box_run(&filtered, options, "PROBE walk");
    check_walk(&filtered, NULL, profile);
}

void h14_default_as_user(void **state)
{
    walk_as_user(USER, KAGE_POLICY_DEFAULT);
}

void h14_default_as_root(void **state)
{
    walk_as_root("", KAGE_POLICY_DEFAULT);
}

void h14_strict_as_user(void **state)
{
    walk_as_user(USER "--profile strict", KAGE_POLICY_STRICT);
}

void h14_strict_as_root(void **state)
{
    walk_as_root("--profile strict", KAGE_POLICY_STRICT);
}

static const char *const everybody[] = {"", USER, "--profile strict", USER "--profile strict"};
enum { EVERYBODY = sizeof everybody / sizeof everybody[0] };

void h14_arguments_decide(void **state)
{
    static const char *const common[] = {"inet", "inet6", "netlink"};
    static const char *const rare[] = {"alg", "packet", "vsock", "bluetooth"};
    for (int i = 0; i < EVERYBODY; i++) {
        static struct box b;
        char name[64];
        box_run(&b, everybody[i], "PROBE conditions");
        box_expect(&b, "socket-unix", "ok");
        for (size_t k = 0; k < sizeof common / sizeof common[0]; k++) {
            snprintf(name, sizeof name, "socket-%s", common[k]);
            if (strstr(everybody[i], "strict"))
                box_expect(&b, name, "EAFNOSUPPORT");
            else if (strcmp(common[k], "inet") == 0)
                box_expect(&b, name, "ok");
        }
        for (size_t k = 0; k < sizeof rare / sizeof rare[0]; k++) {
            snprintf(name, sizeof name, "socket-%s", rare[k]);
            box_expect(&b, name, "EAFNOSUPPORT");
            snprintf(name, sizeof name, "socket-high-%s", rare[k]);
            box_expect(&b, name, "EAFNOSUPPORT");
        }
        box_expect(&b, "personality-query", "ok");
        box_expect(&b, "personality-no-randomize", "ok");
        box_expect(&b, "personality-read-implies-exec", "EPERM");
        box_expect(&b, "personality-mmap-page-zero", "EPERM");
        box_expect(&b, "unshare-files", "ok");
    }
}

void h15_foreign_abi(void **state)
{
    for (int i = 0; i < EVERYBODY; i++) {
        static struct box b;
        box_run(&b, everybody[i], "PROBE conditions");
        box_expect(&b, "unknown", "ENOSYS");
        box_expect(&b, "negative", "ENOSYS");
#ifdef __x86_64__
        box_expect(&b, "x32", "ENOSYS");
        /* SEGV: this kernel has no 32-bit entry at all. */
        const char *i386 = box_line(&b, "i386");
        assert_non_null(i386);
        if (strcmp(i386, "SYS") != 0 && strcmp(i386, "SEGV") != 0)
            fail_msg("a 32-bit call: %s", i386);
#endif
    }
}

void h16_no_new_namespaces(void **state)
{
    static const char *const kinds[] = {"user", "mount", "pid",    "net",
                                        "ipc",  "uts",   "cgroup", "time"};
    for (int i = 0; i < EVERYBODY; i++) {
        static struct box b;
        char name[64];
        box_run(&b, everybody[i], "PROBE conditions");
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            snprintf(name, sizeof name, "unshare-%s", kinds[k]);
            box_expect(&b, name, "EPERM");
            snprintf(name, sizeof name, "unshare-high-%s", kinds[k]);
            box_expect(&b, name, "EPERM");
            snprintf(name, sizeof name, "clone-%s", kinds[k]);
            box_expect(&b, name, "EPERM");
            snprintf(name, sizeof name, "clone3-%s", kinds[k]);
            box_expect(&b, name, "ENOSYS");
        }
    }
}

void h17_no_typing_into_terminals(void **state)
{
    for (int i = 0; i < EVERYBODY; i++) {
        static struct box b;
        box_run(&b, everybody[i], "PROBE conditions");
        box_expect(&b, "tiocsti", "EPERM");
        box_expect(&b, "tiocsti-high", "EPERM");
        box_expect(&b, "tioclinux", "EPERM");
        box_expect(&b, "tcgets", "ok");
    }
}
