#include "sandbox/init.h"

#include "sandbox/command.h"
#include "sandbox/mounts.h"
#include "sandbox/report.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int bring_up_loopback(struct kage_failure *f)
{
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int result = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &ifr);
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    return result < 0 ? kage_failure_set(f, errnum, "bring up lo") : 0;
}

static int finish_namespaces(const struct kage_sandbox_options *o, struct kage_failure *f)
{
    /* If the helper is killed, so is the namespace with all that is in it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return kage_failure_set(f, errno, "tie init to its parent");
    if (o->net == KAGE_SANDBOX_NET_FD && setns(o->net_fd, CLONE_NEWNET) < 0)
        return kage_failure_set(f, errno, "join the network namespace");
    if (o->net == KAGE_SANDBOX_NET_PRIVATE && bring_up_loopback(f) < 0)
        return -1;
    /* Not among clone3()'s flags: it would make the parent's cgroup the root. */
    if (unshare(CLONE_NEWCGROUP) < 0)
        return kage_failure_set(f, errno, "make a cgroup namespace");
    if (o->hostname && sethostname(o->hostname, strlen(o->hostname)) < 0)
        return kage_failure_set(f, errno, "set the host name");
    return kage_mounts_setup(o, f);
}

/* By a descriptor: a signal's handler would cost the first command of a machine a thousand
 * instructions more, for its frame. Returns it, or -1. */
static int watch_children(struct kage_failure *f)
{
    sigset_t set;
    int fd;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
        (fd = (int)syscall(SYS_signalfd4, -1, &set, sizeof(uint64_t), SFD_CLOEXEC | SFD_NONBLOCK)) <
            0)
        return kage_failure_set(f, errno, "watch child processes");
    return fd;
}

/* Init must not keep the command's pipes open: whoever is at their other end
 * waits for the end of file. Either descriptor may be -1. */
static void close_all_but(int a, int b)
{
    int low = a < b ? a : b, high = a < b ? b : a;
    if (low > 0)
        close_range(0, (unsigned)low - 1, 0);
    if (high > low + 1)
        close_range((unsigned)low + 1, (unsigned)high - 1, 0);
    close_range((unsigned)high + 1, ~0U, 0);
}

/* Whether the command has ended, which is then left to be reaped: taking a process apart costs the
 * first command of a machine five thousand instructions, and nobody has to wait for that. Every
 * other child that has ended is reaped. Returns 1, 0, or -1 when there is nobody to wait for. */
static int has_ended(pid_t command, int *ret_status)
{
    siginfo_t info;
    for (;;) {
        info.si_pid = 0;
        if (syscall(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT, NULL) < 0) {
            if (errno != EINTR)
                return -1;
            continue;
        }
        if (info.si_pid == 0)
            return 0;
        if (info.si_pid == command)
            break;
        waitpid(info.si_pid, NULL, WNOHANG);
    }
    *ret_status = info.si_code == CLD_EXITED   ? info.si_status << 8
                  : info.si_code == CLD_DUMPED ? info.si_status | WCOREFLAG
                                               : info.si_status;
    return 1;
}

/* Takes one request from vmd. False when there will be no more: vmd is gone, or
 * wants the command gone. */
static bool take_request(int status_fd, pid_t command)
{
    struct kage_sandbox_msg msg;
    ssize_t n = recv(status_fd, &msg, sizeof msg, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    if (n == sizeof msg && msg.kind == KAGE_SANDBOX_SIGNAL && msg.value > 0 && msg.value < NSIG)
        kill(-command, msg.value);
    return true;
}

/* Waits for the command's end. False if vmd's end came first. */
static bool attend(int status_fd, int child_fd, pid_t command, int *ret_status)
{
    /* A negative descriptor is one that poll ignores. */
    struct pollfd fds[] = {{.fd = status_fd, .events = POLLIN}, {.fd = child_fd, .events = POLLIN}};
    int ended;
    while ((ended = has_ended(command, ret_status)) == 0) {
        struct signalfd_siginfo info;
        if (ppoll(fds, 2, NULL, NULL) < 0)
            continue;
        if (fds[0].revents && !take_request(status_fd, command))
            return false;
        /* Only now: the signal that tells of the command's own end need not be taken. */
        if (!fds[1].revents || (ended = has_ended(command, ret_status)) != 0)
            continue;
        if (read(child_fd, &info, sizeof info) < 0 && errno != EAGAIN)
            return false;
    }
    return ended > 0;
}

/* Ends what the command left behind. Every process of the namespace is init's
 * child or becomes it, so no child means that nothing is left. */
static void end_rest(void)
{
    while (waitpid(-1, NULL, WNOHANG) >= 0 || errno == EINTR) {
        kill(-1, SIGKILL);
        while (waitpid(-1, NULL, 0) > 0)
            continue;
    }
}

/* Tells vmd, and waits for its word. False when that is to leave. */
static bool is_to_go_on(int status_fd, enum kage_sandbox_msg_kind kind, int value)
{
    struct kage_sandbox_msg msg;
    ssize_t n;
    if (status_fd < 0)
        return true;
    kage_report(status_fd, kind, value, NULL);
    do
        n = recv(status_fd, &msg, sizeof msg, 0);
    while ((n > 0 && !(n == sizeof msg && msg.kind == KAGE_SANDBOX_REST)) ||
           (n < 0 && errno == EINTR));
    return n > 0;
}

int kage_init_run(const struct kage_sandbox_options *o)
{
    struct kage_failure failure = {0};
    int exec_errno = 0;
    int status = 0;
    int child_fd = -1;
    pid_t command = -1;
    if (finish_namespaces(o, &failure) == 0 && (child_fd = watch_children(&failure)) >= 0)
        command = kage_command_start(o, &exec_errno, &failure);
    if (command < 0 && exec_errno != 0)
        return kage_report_exec_failed(o->status_fd, exec_errno, o->argv[0]);
    if (command < 0)
        return kage_report_setup_failed(o->status_fd, &failure);
    kage_report(o->status_fd, KAGE_SANDBOX_STARTED, 0, NULL);
    close_all_but(o->status_fd, child_fd);
    /* Returning is enough when vmd is gone: the kernel kills the namespace. */
    if (!attend(o->status_fd, child_fd, command, &status))
        return KAGE_EXIT_SETUP;
    /* vmd has seen that nobody is left, or wants no more; whoever is left all the same ends with
     * the namespace, and that with init. */
    if (!is_to_go_on(o->status_fd, KAGE_SANDBOX_ENDED, status))
        return kage_exit_code(status);
    end_rest();
    is_to_go_on(o->status_fd, KAGE_SANDBOX_EXITED, 0);
    return kage_exit_code(status);
}
