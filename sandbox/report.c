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

/* No stdio: a command's start would pay for its initialisation. */
static void print_parts(const char *const *parts, int n)
{
    struct iovec iov[8];
    for (int i = 0; i < n; i++)
        iov[i] = (struct iovec){(void *)parts[i], strlen(parts[i])};
    if (writev(STDERR_FILENO, iov, n) < 0)
        return; /* nobody left to tell */
}

static void print_line(const char *what, const char *object, int errnum)
{
    const char *detail = strerrordesc_np(errnum);
    const char *parts[] = {
        "sandbox-helper: ", what, object, ": ", detail ? detail : "unknown error", "\n"};
    print_parts(parts, sizeof parts / sizeof parts[0]);
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

int kage_report_usage(int status_fd, const char *why, const char *arg)
{
    const char *parts[] = {"sandbox-helper: ", arg ? arg : "", arg ? ": " : "", why,
                           "\nTry 'sandbox-helper --help'.\n"};
    if (status_fd >= 0)
        kage_report(status_fd, KAGE_SANDBOX_SETUP_FAILED, EINVAL, why);
    else
        print_parts(parts, sizeof parts / sizeof parts[0]);
    return KAGE_EXIT_SETUP;
}

int kage_report_help(const char *text)
{
    size_t len = strlen(text);
    return write(STDOUT_FILENO, text, len) == (ssize_t)len ? 0 : KAGE_EXIT_SETUP;
}

int kage_exit_code(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}
