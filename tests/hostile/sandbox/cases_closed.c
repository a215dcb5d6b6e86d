/* Fail closed: whatever goes wrong on the way, the command has not run. */
#include "box.h"
#include "cases.h"

#include "common/proto/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static bool marker_there(void)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/marker", box_folder());
    return access(path, F_OK) == 0;
}

static void expect_refused(struct box *b, const char *what)
{
    box_finish(b);
    if (marker_there())
        fail_msg("%s: the command ran all the same", what);
    if (b->failed != KAGE_SANDBOX_SETUP_FAILED || b->started || b->exited)
        fail_msg("%s: message %d, started %d", what, b->failed, b->started);
    assert_true(strlen(b->text) > 3);
    assert_true(WIFEXITED(b->helper_status) && WEXITSTATUS(b->helper_status) == 125);
}

/* One system call that the helper makes, with the argument that tells it from
 * others of its kind. */
struct step {
    const char *name;
    const char *call;
    int arg; /* -1: any use of the call */
    uint64_t value;
    const char *options; /* what makes the helper take this step */
};

static const struct step steps[] = {
    {"namespaces", "clone3", -1, 0, ""},
    {"init's death with its parent", "prctl", 0, PR_SET_PDEATHSIG, ""},
    {"unreadable init", "prctl", 0, PR_SET_DUMPABLE, ""},
    {"cgroup namespace", "unshare", -1, 0, ""},
    {"every mount", "mount", -1, 0, ""},
    {"read-only parts of /proc", "mount", 3,
     MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, ""},
    {"masks over /proc", "mount", 3, MS_BIND, ""},
    {"/proc", "mount", 3, MS_NOSUID | MS_NODEV | MS_NOEXEC, ""},
    {"mount propagation", "mount", 3, MS_REC | MS_SLAVE, ""},
    {"host name", "sethostname", -1, 0, "--hostname box"},
    {"socket for lo", "socket", -1, 0, ""},
    {"lo up", "ioctl", -1, 0, "--private-net"},
    {"the ends of children", "rt_sigaction", 0, SIGCHLD, ""},
    {"watching children", "signalfd4", -1, 0, ""},
    {"signals of the command", "rt_sigaction", 0, SIGUSR1, ""},
    {"signal mask", "rt_sigprocmask", -1, 0, ""},
    {"session", "setsid", -1, 0, ""},
    {"resource limits", "prlimit64", 1, RLIMIT_CORE, ""},
    {"capability bounding set", "prctl", 0, PR_CAPBSET_DROP, ""},
    {"groups", "setgroups", -1, 0, ""},
    {"group", "setresgid", -1, 0, ""},
    {"user", "setresuid", -1, 0, "--uid 1000 --gid 1000"},
    {"capabilities", "capset", -1, 0, ""},
    {"no_new_privs", "prctl", 0, PR_SET_NO_NEW_PRIVS, ""},
    {"descriptors", "close_range", 0, 3, ""},
    {"working directory", "chdir", -1, 0, ""},
    {"filter", "seccomp", -1, 0, ""},
};

/* A filter around the helper that breaks one step. It holds for what the helper
 * starts, too, which must not come to that. */
static void break_step(void *arg)
{
    const struct step *step = arg;
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int nr = seccomp_syscall_resolve_name(step->call);
    uint32_t action = SCMP_ACT_ERRNO(EIO);
    int result;
    /* Without this the filter itself would set no_new_privs. */
    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
    struct scmp_arg_cmp equal = {
        .arg = (unsigned)step->arg, .op = SCMP_CMP_EQ, .datum_a = step->value};
    result = seccomp_rule_add_array(ctx, action, nr, step->arg < 0 ? 0 : 1, &equal);
    if (result < 0 || seccomp_load(ctx) < 0)
        _exit(98);
    seccomp_release(ctx);
}

void h29_each_step_failing(void **state)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        static struct box b;
        box_start_prepared(&b, steps[i].options, "PROBE rights touch DIR/marker", break_step,
                           (void *)&steps[i]);
        expect_refused(&b, steps[i].name);
        assert_int_equal(b.errnum, EIO);
    }
    /* And with nothing broken it runs. */
    static struct box b;
    char path[PATH_MAX];
    box_run(&b, "", "PROBE rights touch DIR/marker");
    assert_true(marker_there());
    snprintf(path, sizeof path, "%s/marker", box_folder());
    unlink(path);
}

void h29_wrong_descriptors(void **state)
{
    static const char *const options[] = {
        "--net-fd 0",        "--net-fd 90", "--cgroup-fd 90",
        "--cgroup-fd 91",    "--net-fd 91", "--cwd /nonexistent",
        "--cwd /etc/passwd", "--tty",       "--uid 1000 --gid 1000 --cwd /root/closed",
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        static struct box b;
        int fd = open("/dev/null", O_RDONLY);
        dup2(fd, 91);
        close(fd);
        box_start(&b, options[i], "PROBE rights touch DIR/marker");
        expect_refused(&b, options[i]);
        close(91);
    }
}

static void become_nobody(void *arg)
{
    if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
        _exit(98);
}

void h29_not_root(void **state)
{
    static const char *const options[] = {"", "--uid 65534 --gid 65534", "--profile none"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        static struct box b;
        box_start_prepared(&b, options[i], "PROBE rights touch DIR/marker", become_nobody, NULL);
        expect_refused(&b, "not root");
    }
}

void h27_ids(void **state)
{
    static const char *const bad[] = {"4294967295", "-1", "1.5", "0x0",
                                      "4294967296", "+0", "00",  "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        static struct box b;
        char options[64];
        snprintf(options, sizeof options, "--uid %s --gid 1000", bad[i]);
        box_start(&b, options, "PROBE rights touch DIR/marker");
        expect_refused(&b, options);
        snprintf(options, sizeof options, "--uid 1000 --gid %s", bad[i]);
        box_start(&b, options, "PROBE rights touch DIR/marker");
        expect_refused(&b, options);
        snprintf(options, sizeof options, "--uid 1000 --gid 1000 --groups %s", bad[i]);
        box_start(&b, options, "PROBE rights touch DIR/marker");
        expect_refused(&b, options);
    }
    static struct box b;
    box_start(&b, "--uid 1000", "PROBE rights touch DIR/marker");
    expect_refused(&b, "a user without a group");
}
