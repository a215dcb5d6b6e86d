#include "runner/host/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "common/base/alloc.h"

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* In the child, between fork and exec: only what may be called there. */
static _Noreturn void become(const char *const *argv, int keep_fd, int out, int err, pid_t parent)
{
    int null = open("/dev/null", O_RDONLY);
    sigset_t none;

#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
#else
    (void)parent;
#endif
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(127);
    if (null > 2)
        close(null);
    if (keep_fd >= 0)
        fcntl(keep_fd, F_SETFD, 0);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Reads what is there; false at the end of the stream. */
static bool take(int fd, struct kage_buf *into)
{
    char chunk[4096];
    ssize_t n = read(fd, chunk, sizeof(chunk));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (into->len < KAGE_CHILD_OUTPUT)
        kage_buf_add(into, chunk,
                     (size_t)n < KAGE_CHILD_OUTPUT - into->len ? (size_t)n
                                                               : KAGE_CHILD_OUTPUT - into->len);
    return n > 0;
}

/* Collects output until both streams end or it is time to stop. A program that closes its output
 * and runs on is caught by the deadline in reap(). */
static void collect(int out, int err, int64_t deadline, bool (*enough)(const struct kage_child *),
                    struct kage_child *child)
{
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    struct kage_buf *into[2] = {&child->out, &child->err};

    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int64_t left = deadline - now_ms();

        if (left <= 0) {
            child->timed_out = true;
            return;
        }
        if (poll(fds, 2, (int)left) < 0 && errno != EINTR)
            return;
        for (int i = 0; i < 2; i++)
            if (fds[i].fd >= 0 && fds[i].revents && !take(fds[i].fd, into[i]))
                fds[i].fd = -1;
        if (enough && enough(child)) {
            child->cut_short = true;
            return;
        }
    }
}

static void reap(pid_t pid, int64_t deadline, struct kage_child *child)
{
    struct timespec nap = {.tv_nsec = 2000000};
    pid_t got;

    while (!child->timed_out && !child->cut_short) {
        got = waitpid(pid, &child->status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR))
            return;
        if (now_ms() >= deadline)
            child->timed_out = true;
        else
            nanosleep(&nap, NULL);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, &child->status, 0) < 0 && errno == EINTR)
        ;
}

int kage_child_run(const char *const *argv, int keep_fd, unsigned timeout_ms,
                   bool (*enough)(const struct kage_child *child), struct kage_child *ret,
                   struct kage_error *err)
{
    int64_t deadline = now_ms() + timeout_ms;
    int out[2] = {-1, -1}, errs[2] = {-1, -1};
    pid_t parent = getpid(), pid = -1;

    *ret = (struct kage_child){0};
    if (pipe2(out, O_CLOEXEC) == 0 && pipe2(errs, O_CLOEXEC) == 0)
        pid = fork();
    if (pid == 0)
        become(argv, keep_fd, out[1], errs[1], parent);
    if (pid < 0)
        kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot start %s", argv[0]);
    kage_closep(&out[1]);
    kage_closep(&errs[1]);
    if (pid > 0) {
        collect(out[0], errs[0], deadline, enough, ret);
        reap(pid, deadline, ret);
    }
    kage_closep(&out[0]);
    kage_closep(&errs[0]);
    return pid > 0 ? 0 : -1;
}

void kage_child_done(struct kage_child *child)
{
    kage_buf_done(&child->out);
    kage_buf_done(&child->err);
}
