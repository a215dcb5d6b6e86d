#include "sandbox/launch.h"

#include "sandbox/init.h"
#include "sandbox/report.h"
#include "sandbox/vfork.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Three processes:
 *
 *   helper   in the caller's namespaces; what vmd has as its child and waits for
 *   init     process 1 of the new PID namespace; owns the status socket
 *   command  its child
 *
 * The helper cannot be init itself, because a PID namespace begins with a child.
 * When init ends, for whatever reason, the kernel kills the whole namespace.
 *
 * The helper has nothing to do while init lives. So init is made as by vfork():
 * it uses the helper's memory and descriptors, and the kernel wakes the helper
 * when init has ended. Copying the page tables instead costs 0.7 ms in an
 * emulated guest, a tenth of a command's whole start. The descriptors are shared
 * so that init, when it closes the command's pipes, closes them for both.
 *
 * The command is alone in a fresh PID namespace. That is also why the helper's
 * program file is safe from it: a command called /proc/self/exe starts the helper
 * once more, confined, but there is no second process that could open the file
 * through it and wait for a chance to write, as in CVE-2019-5736.
 */

/* Returns when init has ended, or a negative errno if it never began. Not
 * inlined, so that the frame shared with init holds nothing else. */
static __attribute__((noinline)) pid_t run_init(const struct kage_sandbox_options *o)
{
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_VM | CLONE_VFORK |
                 CLONE_FILES,
        .exit_signal = SIGCHLD,
    };
    if (o->net == KAGE_SANDBOX_NET_PRIVATE)
        args.flags |= CLONE_NEWNET;
    if (o->cgroup_fd >= 0) {
        /* Born there: moving a process in afterwards waits for an RCU grace period,
         * and would leave a moment in which nothing limits it. */
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)o->cgroup_fd;
    }
    pid_t pid = kage_vfork(&args);
    if (pid == 0)
        _exit(kage_init_run(o));
    return pid;
}

int kage_sandbox_run(const struct kage_sandbox_options *o)
{
    struct kage_failure failure = {0};
    int status = 0;
    /* The kernel's struct sigaction: SIG_DFL, no flags, no restorer, an empty mask. */
    static const unsigned long action[4];
    pid_t init;
    /* Children of who ignores SIGCHLD cannot be waited for, and that is inherited. */
    if (syscall(SYS_rt_sigaction, SIGCHLD, action, NULL, sizeof(uint64_t)) < 0) {
        kage_failure_set(&failure, errno, "be told of the ends of processes");
        return kage_report_setup_failed(o->status_fd, &failure);
    }
    /* Init inherits it: no ptrace, no /proc/1/mem, not even for the same user. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        kage_failure_set(&failure, errno, "become unreadable");
        return kage_report_setup_failed(o->status_fd, &failure);
    }
    init = run_init(o);
    if (init < 0) {
        kage_failure_set(&failure, -init, "make namespaces");
        return kage_report_setup_failed(o->status_fd, &failure);
    }
    while (waitpid(init, &status, 0) < 0 && errno == EINTR)
        continue;
    return kage_exit_code(status);
}
