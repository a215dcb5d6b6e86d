#include "sandbox/report.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

int kage_failure_set(struct kage_failure *f, int errnum, const char *doing)
{
    f->errnum = errnum;
    f->doing = doing;
    return -1;
}

void kage_report(int status_fd, enum kage_sandbox_msg_kind kind, int value, const char *text)
{
    struct kage_sandbox_msg msg = {.kind = kind, .value = value};
    if (status_fd < 0)
        return;
    if (text)
        memccpy(msg.text, text, '\0', sizeof msg.text - 1);
    while (send(status_fd, &msg, sizeof msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

/* No stdio: it would double the pages that a static program touches on its way. */
static void print_line(const char *what, const char *object, int errnum)
{
    const char *detail = errnum ? strerrordesc_np(errnum) : NULL;
    const char *parts[] = {"sandbox-helper: ",   what, object, detail ? ": " : "",
                           detail ? detail : "", "\n"};
    struct iovec iov[sizeof parts / sizeof parts[0]];
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        iov[i] = (struct iovec){(void *)parts[i], strlen(parts[i])};
    if (writev(STDERR_FILENO, iov, sizeof iov / sizeof iov[0]) < 0)
        return; /* nobody left to tell */
}

int kage_report_setup_failed(int status_fd, const struct kage_failure *f)
{
    if (status_fd >= 0)
        kage_report(status_fd, KAGE_SANDBOX_SETUP_FAILED, f->errnum, f->doing);
    else
        print_line("cannot ", f->doing, f->errnum);
    return KAGE_EXIT_SETUP;
}

int kage_report_exec_failed(int status_fd, int errnum, const char *command)
{
    if (status_fd >= 0)
        kage_report(status_fd, KAGE_SANDBOX_EXEC_FAILED, errnum, NULL);
    else
        print_line("cannot execute ", command, errnum);
    return errnum == ENOENT || errnum == ENOTDIR ? KAGE_EXIT_NOT_FOUND : KAGE_EXIT_NOT_EXECUTABLE;
}

int kage_exit_code(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}
