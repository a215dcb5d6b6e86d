#include "sandbox/launch.h"

#include "sandbox/image.h"
#include "sandbox/init.h"
#include "sandbox/report.h"

#include <errno.h>
#include <linux/sched.h>
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
 */
static pid_t clone_init(const struct kage_sandbox_options *o)
{
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS,
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
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

int kage_sandbox_run(const struct kage_sandbox_options *o, char **self_argv)
{
    struct kage_failure failure = {0};
    int status = 0;
    pid_t init;
    if (kage_image_protect(o, self_argv, &failure) < 0)
        return kage_report_setup_failed(o->status_fd, &failure);
    /* Init inherits it: no ptrace, no /proc/1/mem, not even for the same user. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        kage_failure_set(&failure, errno, "become unreadable");
        return kage_report_setup_failed(o->status_fd, &failure);
    }
    init = clone_init(o);
    if (init < 0) {
        kage_failure_set(&failure, errno, "make namespaces");
        return kage_report_setup_failed(o->status_fd, &failure);
    }
    if (init == 0)
        _exit(kage_init_run(o));
    close_range(0, ~0U, 0);
    while (waitpid(init, &status, 0) < 0 && errno == EINTR)
        continue;
    return kage_exit_code(status);
}
