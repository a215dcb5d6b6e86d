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
#include "runner/vm/folder.h"

/*
 * Theory of operation. kage start forks twice, so that the owner is nobody's
 * child and in a session without a terminal. The owner writes to a pipe: first
 * its process id, then either that the machine is up or why it is not. Whatever
 * happens to the waiting process after that does not concern the owner. Before
 * that a machine nobody waits for is a machine nobody knows: when the report
 * finds no reader, the owner ends it.
 */
#define OWNER_END_MS 10000 /* what an owner that was told to end gets for it */
#define CONSOLE_LOG_MAX                                                                            \
    (1024u * 1024u) /* then the log starts anew and the old one is kept once                       \
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

/* False when nobody waits any more. */
static bool send_report(int fd, const struct report *report)
{
    return write(fd, report, sizeof *report) == (ssize_t)sizeof *report;
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
    snprintf(report.id, sizeof report.id, "%s", o->vm->id);
    o->up = send_report(o->pipe, &report);
    if (!o->up)
        raise(SIGTERM);
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

/* Closes all but the standard streams and two others. What whoever called kage had open would be
 * held for as long as the machine lives: a pipe's reader would wait for its end, a lock would stay
 * taken. */
static void close_others(int a, int b)
{
    int low = a < b ? a : b, high = a < b ? b : a;
    unsigned next = 3;

    for (int i = 0; i < 2; i++) {
        int keep = i ? high : low;

        if (keep < (int)next)
            continue;
        if (keep > (int)next)
            close_range(next, (unsigned)keep - 1, 0);
        next = (unsigned)keep + 1;
    }
    close_range(next, ~0U, 0);
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

    /* Blocked until the loop receives it. `kage stop` counts on it even where whoever started the
     * machine ignored it; that the waiting process is gone must show as an error of write. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        dup2(null, fd);
    if (chdir("/") < 0 || null < 0) {
        fail_start(&o, KAGE_CLASS_HOST, "cannot detach from the terminal");
        _exit(1);
    }
    close_others(pipe, files->rootfs ? files->rootfs_fd : -1);
    if (!send_report(pipe, &hello))
        _exit(1);
    if (kage_vm_create(vm, &err) < 0) {
        fail_start(&o, err.class, err.message);
        _exit(1);
    }
    o.console_path = kage_asprintf("%s/console.log", vm->folder);
    kage_run(plan, files, &options, &result);
    if (o.up) {
        write_end(&o, &result);
    } else {
        /* A machine that never came up leaves nothing; the lock goes with the process right
         * after. */
        kage_vm_remove_folder(vm, &err);
        fail_start(&o, result.class, result.message);
    }
    _exit(0);
}

/* ---- the waiting process ---- */

/* Reads a report if there is one in that time. Returns 0 at the end of the pipe. */
static ssize_t next_report(int pipe, int timeout_ms, struct report *ret)
{
    struct pollfd fd = {.fd = pipe, .events = POLLIN};
    int r;

    do
        r = poll(&fd, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    return r > 0 ? read(pipe, ret, sizeof *ret) : -1;
}

static bool has_ended(int pid_fd, int timeout_ms)
{
    struct pollfd fd = {.fd = pid_fd, .events = POLLIN};
    int r;

    do
        r = poll(&fd, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    return r > 0;
}

/* A machine that was up before its owner heard of the interruption has left its folder. */
static void forget(int pipe)
{
    struct kage_error ignored = KAGE_ERROR_INIT;
    struct report report;

    while (next_report(pipe, 0, &report) == (ssize_t)sizeof report) {
        struct kage_vm vm = {0};

        if (report.kind == REPORT_UP && kage_vm_find(report.id, &vm, &ignored) == 0)
            kage_vm_remove(&vm, &ignored);
        kage_vm_done(&vm);
        kage_error_done(&ignored);
    }
}

/* The signal may come before the owner has said who it is. */
static int interrupted(int pipe, pid_t owner, int owner_fd, int signo, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int late_fd = -1;
    const char *signame = sigabbrev_np(signo);
    struct report report;

    err->signal = signo;
    if (!owner && next_report(pipe, OWNER_END_MS, &report) == (ssize_t)sizeof report &&
        report.kind == REPORT_PID) {
        owner = report.pid;
        owner_fd = late_fd = (int)syscall(SYS_pidfd_open, owner, 0);
    }
    if (owner_fd >= 0) {
        syscall(SYS_pidfd_send_signal, owner_fd, SIGTERM, NULL, 0);
        if (!has_ended(owner_fd, OWNER_END_MS))
            return kage_error_set(err, KAGE_CLASS_INTERRUPTED,
                                  "interrupted by SIG%s; process %d, which owns the machine, has "
                                  "been told to end it and has not yet",
                                  signame, (int)owner);
    }
    forget(pipe);
    return kage_error_set(err, KAGE_CLASS_INTERRUPTED, "interrupted by SIG%s; the machine is gone",
                          signame);
}

static int wait_for_owner(int pipe, int signals, struct kage_vm *vm, struct kage_error *err)
{
    struct pollfd fds[] = {{.fd = pipe, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    KAGE_CLEANUP(kage_closep) int owner_fd = -1;
    struct signalfd_siginfo info;
    struct report report;
    pid_t owner = 0;

    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            return kage_error_errno(err, KAGE_CLASS_INTERNAL, errno, "cannot wait for the machine");
        }
        if (fds[1].revents && read(signals, &info, sizeof info) == (ssize_t)sizeof info)
            return interrupted(pipe, owner, owner_fd, (int)info.ssi_signo, err);
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
        kage_closep(&owner_fd);
        owner_fd = (int)syscall(SYS_pidfd_open, owner, 0);
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
    if (r < 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}
