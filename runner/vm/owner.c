#include "runner/vm/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "runner/session/run.h"

/*
 * Theory of operation. kage start forks twice, so that the owner is nobody's
 * child and in a session without a terminal. The owner writes to a pipe: first
 * its process id, then either that the machine is up or why it is not. Whatever
 * happens to the waiting process after that does not concern the owner.
 */
#define CONSOLE_LOG_MAX (1024u * 1024u) /* then the log starts anew and the old one is kept once   \
                                         */

struct owner {
    struct kage_vm *vm;
    int pipe;
    bool up;
    char *console_path;
    int console_fd;
    size_t console_len;
};

struct report {
    enum { REPORT_PID, REPORT_UP, REPORT_FAILED } kind;
    int32_t pid;
    uint16_t port;
    char id[16];
    enum kage_class class;
    char message[3900]; /* the whole fits PIPE_BUF: it arrives in one piece */
};

static void send_report(int fd, const struct report *report)
{
    /* The waiting process may be gone; the machine does not need it. */
    if (write(fd, report, sizeof *report) < 0)
        return;
}

/* ---- the owner ---- */

static void on_console(const char *data, size_t len, void *user)
{
    struct owner *o = user;

    if (o->console_len + len > CONSOLE_LOG_MAX) {
        KAGE_CLEANUP(kage_freep) char *old = kage_asprintf("%s.old", o->console_path);

        kage_closep(&o->console_fd);
        rename(o->console_path, old);
        o->console_len = 0;
    }
    if (o->console_fd < 0)
        o->console_fd =
            open(o->console_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (o->console_fd >= 0 && write(o->console_fd, data, len) == (ssize_t)len)
        o->console_len += len;
}

static void on_up(uint16_t port, const char *token, void *user)
{
    struct owner *o = user;
    struct kage_error err = KAGE_ERROR_INIT;
    struct report report = {.kind = REPORT_UP, .port = port};

    o->vm->state = KAGE_VM_RUNNING;
    o->vm->port = port;
    snprintf(o->vm->token, sizeof o->vm->token, "%s", token);
    if (kage_vm_write(o->vm, &err) < 0) {
        report.kind = REPORT_FAILED;
        report.class = err.class;
        snprintf(report.message, sizeof report.message, "%s", err.message);
        send_report(o->pipe, &report);
        kage_error_done(&err);
        raise(SIGTERM); /* comes back through the loop and ends the machine */
        return;
    }
    o->up = true;
    snprintf(report.id, sizeof report.id, "%s", o->vm->id);
    send_report(o->pipe, &report);
    kage_closep(&o->pipe);
}

static void write_end(struct owner *o, const struct kage_result *result)
{
    struct kage_error err = KAGE_ERROR_INIT;
    KAGE_CLEANUP(kage_freep) char *token = kage_asprintf("%s/token", o->vm->folder);

    unlink(token);
    o->vm->state = KAGE_VM_ENDED;
    free(o->vm->reason);
    o->vm->reason = kage_strdup(result->class == KAGE_CLASS_INTERRUPTED ? "stopped"
                                : result->message                       ? result->message
                                                                        : "ended");
    kage_vm_write(o->vm, &err);
    kage_error_done(&err);
}

static void fail_start(struct owner *o, enum kage_class class, const char *message)
{
    struct report report = {.kind = REPORT_FAILED, .class = class};

    snprintf(report.message, sizeof report.message, "%s", message ? message : "unknown error");
    send_report(o->pipe, &report);
}

/* A machine that never came up leaves nothing; the lock goes with the process right after. */
static void remove_folder(const struct kage_vm *vm)
{
    static const char *const names[] = {"vm.json", "console.log", "console.log.old", "lock"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", vm->folder, names[i]);

        unlink(path);
    }
    rmdir(vm->folder);
}

static _Noreturn void own(const struct kage_plan *plan, const struct kage_image_files *files,
                          struct kage_vm *vm, int pipe)
{
    struct owner o = {.vm = vm, .pipe = pipe, .console_fd = -1};
    struct kage_run_options options = {
        .started_ms = kage_now_ms(), .on_up = on_up, .on_console = on_console, .user = &o};
    struct report hello = {.kind = REPORT_PID, .pid = getpid()};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_result result = {0};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        dup2(null, fd);
    if (chdir("/") < 0 || null < 0) {
        fail_start(&o, KAGE_CLASS_HOST, "cannot detach from the terminal");
        _exit(1);
    }
    send_report(pipe, &hello);
    if (kage_vm_create(vm, &err) < 0) {
        fail_start(&o, err.class, err.message);
        _exit(1);
    }
    o.console_path = kage_asprintf("%s/console.log", vm->folder);
    kage_run(plan, files, &options, &result);
    if (o.up) {
        write_end(&o, &result);
    } else {
        remove_folder(vm);
        fail_start(&o, result.class, result.message);
    }
    _exit(0);
}

/* ---- the waiting process ---- */

static int interrupted(pid_t owner, int signo, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = owner > 0 ? (int)syscall(SYS_pidfd_open, owner, 0) : -1;

    if (fd >= 0)
        syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0);
    return kage_error_set(err, KAGE_CLASS_INTERRUPTED, "interrupted by SIG%s; the machine is gone",
                          sigabbrev_np(signo));
}

static int wait_for_owner(int pipe, int signals, struct kage_vm *vm, struct kage_error *err)
{
    struct pollfd fds[] = {{.fd = pipe, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    struct signalfd_siginfo info;
    struct report report;
    pid_t owner = 0;

    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return kage_error_errno(err, KAGE_CLASS_INTERNAL, errno, "cannot wait for the machine");
        if (fds[1].revents && read(signals, &info, sizeof info) == (ssize_t)sizeof info)
            return interrupted(owner, (int)info.ssi_signo, err);
        if (!fds[0].revents)
            continue;
        if (read(pipe, &report, sizeof report) != (ssize_t)sizeof report)
            return kage_error_set(err, KAGE_CLASS_INTERNAL,
                                  "the process that owns the machine went away");
        if (report.kind == REPORT_FAILED)
            return kage_error_set(err, report.class, "%s", report.message);
        if (report.kind == REPORT_UP) {
            free(vm->id);
            vm->id = kage_strdup(report.id);
            vm->port = report.port;
            vm->owner = owner;
            vm->state = KAGE_VM_RUNNING;
            return 0;
        }
        owner = report.pid;
    }
}

int kage_vm_start(const struct kage_plan *plan, const struct kage_image_files *files,
                  struct kage_vm *vm, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int signals = -1;
    sigset_t set, before;
    int fds[2], r;
    pid_t pid;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (pipe2(fds, O_CLOEXEC) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make a pipe");
    sigprocmask(SIG_BLOCK, &set, &before);
    pid = fork();
    if (pid == 0) {
        close(fds[0]);
        setsid();
        pid = fork();
        if (pid == 0)
            own(plan, files, vm, fds[1]);
        _exit(pid < 0);
    }
    close(fds[1]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    r = pid < 0 ? kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot start a process")
                : wait_for_owner(fds[0], signals, vm, err);
    close(fds[0]);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}
