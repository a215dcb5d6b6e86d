#include "runner/apply/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"

/* ---- in the worker ---- */

/* Nothing of the other jobs' may stay open here: the end of a pipe would not be seen. */
static void close_all_but(int a, int b)
{
    unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

    if (low > 3)
        close_range(3, low - 1, 0);
    if (high > low + 1)
        close_range(low + 1, high - 1, 0);
    close_range(high + 1, ~0U, 0);
}

static bool send_all(int fd, const struct kage_buf *text)
{
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->data + done, text->len - done);

        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static _Noreturn void work(const struct kage_plan *plan, const struct kage_image_files *files,
                           const struct kage_run_options *options, const sigset_t *mask,
                           const int *ends, pid_t parent)
{
    struct kage_result result = {0};
    struct kage_buf text = {0};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    setpgid(0, 0);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(ends[KAGE_WORKER_OUT], STDOUT_FILENO) < 0 ||
        dup2(ends[KAGE_WORKER_ERR], STDERR_FILENO) < 0)
        _exit(1);
    close_all_but(ends[KAGE_WORKER_REPORT],
                  files->rootfs ? files->rootfs_fd : ends[KAGE_WORKER_REPORT]);
    sigprocmask(SIG_SETMASK, mask, NULL);
    kage_run(plan, files, options, &result);
    kage_result_send(&result, &text);
    _exit(send_all(ends[KAGE_WORKER_REPORT], &text) ? 0 : 1);
}

/* ---- in kage ---- */

static void close_both(int pipes[KAGE_WORKER_ENDS][2])
{
    for (int i = 0; i < KAGE_WORKER_ENDS; i++) {
        kage_closep(&pipes[i][0]);
        kage_closep(&pipes[i][1]);
    }
}

int kage_worker_start(const struct kage_plan *plan, const struct kage_image_files *files,
                      const struct kage_run_options *options, const sigset_t *mask,
                      struct kage_worker *ret, struct kage_error *err)
{
    int pipes[KAGE_WORKER_ENDS][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int theirs[KAGE_WORKER_ENDS], e;
    pid_t parent = getpid(), pid = -1;
    bool ok = true;

    for (int i = 0; i < KAGE_WORKER_ENDS && ok; i++) {
        ok = pipe2(pipes[i], O_CLOEXEC) == 0 && fcntl(pipes[i][0], F_SETFL, O_NONBLOCK) == 0;
        theirs[i] = pipes[i][1];
    }
    if (ok) {
        fflush(NULL);
        pid = fork();
    }
    if (pid == 0)
        work(plan, files, options, mask, theirs, parent);
    e = errno;
    ret->pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (ret->pidfd < 0) {
        if (pid > 0) {
            e = errno;
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
        close_both(pipes);
        return kage_error_errno(err, KAGE_CLASS_HOST, e, "cannot start a process for the job");
    }
    ret->pid = pid;
    for (int i = 0; i < KAGE_WORKER_ENDS; i++)
        ret->ends[i] = kage_take_fd(&pipes[i][0]);
    close_both(pipes);
    return 0;
}

void kage_worker_judge(const struct kage_plan *plan, int status, const struct kage_buf *report,
                       int signo, struct kage_result *ret)
{
    struct kage_error err = KAGE_ERROR_INIT;

    if (kage_result_receive(report, plan, ret, &err) == 0)
        return;
    kage_result_begin(plan, ret);
    /* Between two machines nobody in it waits for signals; it dies of them. */
    if (signo && WIFSIGNALED(status)) {
        ret->class = KAGE_CLASS_INTERRUPTED;
        ret->message = kage_asprintf("interrupted by SIG%s", sigabbrev_np(signo));
    } else {
        ret->class = KAGE_CLASS_INTERNAL;
        ret->message =
            WIFSIGNALED(status)
                ? kage_asprintf("the kage process that ran the job was killed by SIG%s",
                                sigabbrev_np(WTERMSIG(status)))
                : kage_asprintf("the kage process that ran the job ended with code %d and "
                                "without a result (%s)",
                                WEXITSTATUS(status), err.message);
    }
    ret->exit_code = kage_result_exit_code(ret->class, 0, signo);
    kage_error_done(&err);
}
