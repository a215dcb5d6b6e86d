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
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

/* Interrupts ppoll(); the work is done outside. */
static void on_child(int sig)
{
}

static int watch_children(struct kage_failure *f)
{
    struct sigaction action = {.sa_handler = on_child};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || sigaction(SIGCHLD, &action, NULL) < 0)
        return kage_failure_set(f, errno, "watch child processes");
    return 0;
}

/* Init must not keep the command's pipes open: whoever is at their other end
 * waits for the end of file. */
static void close_all_but(int fd)
{
    if (fd < 0) {
        close_range(0, ~0U, 0);
        return;
    }
    close_range(0, (unsigned)fd - 1, 0);
    close_range((unsigned)fd + 1, ~0U, 0);
}

/* Reaps everything that has ended. True once that includes the command. */
static bool reap(pid_t command, int *ret_status)
{
    bool ended = false;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            return ended;
        if (pid == command) {
            *ret_status = status;
            ended = true;
        }
    }
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
static bool attend(int status_fd, pid_t command, int *ret_status)
{
    /* A negative descriptor is one that poll ignores. */
    struct pollfd pfd = {.fd = status_fd, .events = POLLIN};
    sigset_t none;
    sigemptyset(&none);
    while (!reap(command, ret_status)) {
        int n = ppoll(&pfd, 1, NULL, &none);
        if (n > 0 && !take_request(status_fd, command))
            return false;
    }
    return true;
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

int kage_init_run(const struct kage_sandbox_options *o)
{
    struct kage_failure failure = {0};
    int exec_errno = 0;
    int status = 0;
    pid_t command = -1;
    if (finish_namespaces(o, &failure) == 0 && watch_children(&failure) == 0)
        command = kage_command_start(o, &exec_errno, &failure);
    if (command < 0 && exec_errno != 0)
        return kage_report_exec_failed(o->status_fd, exec_errno, o->argv[0]);
    if (command < 0)
        return kage_report_setup_failed(o->status_fd, &failure);
    kage_report(o->status_fd, KAGE_SANDBOX_STARTED, 0, NULL);
    close_all_but(o->status_fd);
    /* Returning is enough when vmd is gone: the kernel kills the namespace. */
    if (!attend(o->status_fd, command, &status))
        return KAGE_EXIT_SETUP;
    end_rest();
    kage_report(o->status_fd, KAGE_SANDBOX_EXITED, status, NULL);
    return kage_exit_code(status);
}
