#include "guest/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "common/proto/sandbox.h"
#include "guest/guest.h"
#include "guest/launch.h"
#include "guest/refusal.h"
#include "guest/stream.h"

/*
 * Theory of operation. A process is known by three sources that arrive in any
 * order: messages from its helper on the status socket, the end of the helper
 * itself (SIGCHLD), and the ends of its output streams.
 *
 *   WAITING --STARTED--> RUNNING --all dead, or reaped--> DRAINING --streams ended--> OVER
 *      \--SETUP_FAILED, EXEC_FAILED, or reaped without a word--> FAILED
 *
 * OVER and FAILED are gone for everybody else; what is left is to reap the helper.
 *
 * The helper says ENDED when the command is dead. If its cgroup has nobody else in it,
 * all is; else the helper is told to end the rest, and says EXITED once it has. From
 * then on nobody writes: what a pipe still holds is the rest of the output,
 * and an empty pipe is an ended one, even if a descriptor of it was passed to
 * some other command. The helper is let go only after that has been reported: for the
 * first command of a machine its end takes ten milliseconds under emulation.
 */
enum state { WAITING, RUNNING, DRAINING, OVER, FAILED };

/* In the cgroup of a command that has ended, when it started nothing that lives: process 1 of its
 * namespace, and itself, not reaped yet. */
#define INIT_AND_COMMAND 2

/* How long a helper that was told to end its command may take before it is killed itself. */
#define KILL_GRACE_MS 3000

struct kage_process {
    struct kage_guest *guest;
    struct kage_process *next;
    enum state state;
    int64_t id;
    char handle[24];
    char *command; /* to name in an error */
    pid_t pid;
    uid_t uid;
    bool detached, pty;
    bool confined;     /* nothing of the command can leave its cgroup */
    bool parked;       /* nobody listens, and somebody will: nothing may be lost */
    size_t unreported; /* input consumed while it was parked */
    bool dead;         /* the command and all that it started */
    bool reaped;
    bool have_status;
    int wait_status;

    int status_fd, slave_fd;
    struct kage_watch *status_watch;
    struct kage_timer *kill_timer, *adopted_timer;
    struct kage_later bury;
    struct kage_output out, err;
    struct kage_input in;
    struct kage_cgroup cgroup;

    const struct kage_process_sink *sink; /* NULL once abandoned */
    void *user;
};

static void process_free(struct kage_process *p)
{
    struct kage_process **at = &p->guest->processes;

    while (*at && *at != p)
        at = &(*at)->next;
    if (*at)
        *at = p->next;
    kage_output_done(&p->out);
    kage_output_done(&p->err);
    kage_input_done(&p->in);
    kage_loop_not_later(p->guest->loop, &p->bury);
    kage_watch_free(p->status_watch);
    kage_timer_free(p->kill_timer);
    kage_timer_free(p->adopted_timer);
    kage_closep(&p->status_fd);
    kage_closep(&p->slave_fd);
    kage_cgroup_done(p->guest, &p->cgroup);
    free(p->command);
    free(p);
}

/* Reports the end when the command is dead and all its output has been handed over, and frees the
 * process once its helper is gone, too. */
static void finish(struct kage_process *p)
{
    const struct kage_process_sink *sink = p->sink;
    int code = 128 + SIGKILL, sig = SIGKILL;

    if (!p->dead || p->out.fd >= 0 || p->err.fd >= 0 || p->parked)
        return;
    /* A helper that vanished did not finish its command: it, or all of it, was killed. */
    if (p->have_status && WIFEXITED(p->wait_status)) {
        code = WEXITSTATUS(p->wait_status);
        sig = 0;
    } else if (p->have_status) {
        sig = WTERMSIG(p->wait_status);
        code = 128 + sig;
    }
    p->sink = NULL;
    if (p->state == DRAINING) {
        p->state = OVER;
        if (sink)
            sink->exited(p, code, sig, kage_cgroup_out_of_memory(&p->cgroup), p->user);
    }
    if (p->reaped)
        process_free(p);
}

static void fail(struct kage_process *p, int errnum, const char *what)
{
    const struct kage_process_sink *sink = p->sink;
    struct kage_refusal why = {0};

    p->state = FAILED;
    p->sink = NULL;
    kage_output_done(&p->out);
    kage_output_done(&p->err);
    kage_input_done(&p->in);
    kage_closep(&p->slave_fd);
    kage_timer_set(p->kill_timer, KILL_GRACE_MS); /* for a helper that does not end by itself */
    kage_refuse(&why, KAGE_RPC_SPAWN, errnum, "%s", what);
    if (sink)
        sink->failed(p, &why, p->user);
    kage_refusal_done(&why);
}

static void kill_tree(struct kage_process *p)
{
    if (p->dead)
        return;
    /* The helper takes the end of this socket as the order to kill its pid namespace, waits until
     * it is empty, and only then ends; see common/proto/sandbox.h. */
    if (p->status_fd >= 0)
        shutdown(p->status_fd, SHUT_WR);
    kage_timer_set(p->kill_timer, KILL_GRACE_MS);
}

/* Behind the report of the command's end, which leaves in the same turn of the loop. */
static void on_bury(void *user)
{
    struct kage_process *p = user;

    shutdown(p->status_fd, SHUT_WR);
    kage_timer_set(p->kill_timer, KILL_GRACE_MS);
}

static void on_kill_timer(void *user)
{
    struct kage_process *p = user;

    if (p->reaped)
        return;
    kage_cgroup_kill(&p->cgroup);
    kill(p->pid, SIGKILL);
}

/* ---- the streams ---- */

static bool on_ready(void *user)
{
    struct kage_process *p = user;

    if (p->parked)
        return false;
    return !p->sink || p->sink->ready(p->user);
}

static void on_output(struct kage_output *out, const char *data, size_t len, void *user)
{
    struct kage_process *p = user;

    if (p->sink)
        p->sink->output(p, out == &p->err, data, len, p->user);
}

static void on_output_end(struct kage_output *out, void *user)
{
    finish(user);
}

static void on_consumed(struct kage_input *in, size_t bytes, void *user)
{
    struct kage_process *p = user;

    if (p->parked)
        p->unreported += bytes;
    else if (p->sink)
        p->sink->consumed(p, bytes, p->user);
}

/* finish() may free p at the end of a stream; with both streams at hand only the last one does. */
static void resume_output(struct kage_process *p)
{
    bool two = p->err.fd >= 0;
    struct kage_output *err = &p->err;

    if (two && p->out.fd >= 0) {
        kage_output_resume(&p->out); /* err.fd is open, so p stays */
        kage_output_resume(err);
    } else if (two) {
        kage_output_resume(err);
    } else {
        kage_output_resume(&p->out);
    }
}

/* Its new connection has had its answer: what was kept can follow. */
static void on_adopted(void *user)
{
    struct kage_process *p = user;
    size_t unreported = p->unreported;

    if (p->parked)
        return;
    p->unreported = 0;
    if (unreported && p->sink)
        p->sink->consumed(p, unreported, p->user);
    if (p->dead && p->out.fd < 0 && p->err.fd < 0)
        finish(p);
    else
        resume_output(p);
}

/* ---- the helper ---- */

/* May free p if its helper has been reaped. */
static void on_dead(struct kage_process *p)
{
    p->dead = true;
    if (p->state == RUNNING)
        p->state = DRAINING;
    p->out.orphan = p->err.orphan = true;
    if (p->out.fd < 0 && p->err.fd < 0)
        finish(p);
    else
        resume_output(p);
}

static void on_started(struct kage_process *p)
{
    if (p->state != WAITING)
        return;
    p->state = RUNNING;
    kage_closep(&p->slave_fd);
    /* `spawned` goes out before the first byte of output. The sink may carry out further requests
     * that had to wait for this one, so nothing of p is touched after it but by the loop. */
    kage_watch_set(p->out.watch, EPOLLIN);
    if (p->err.fd >= 0)
        kage_watch_set(p->err.watch, EPOLLIN);
    if (p->sink)
        p->sink->started(p, p->user);
}

static void on_all_dead(struct kage_process *p)
{
    if (p->state == RUNNING)
        on_dead(p);
    kage_loop_later(p->guest->loop, &p->bury);
}

static void end_rest(struct kage_process *p)
{
    struct kage_sandbox_msg m = {.kind = KAGE_SANDBOX_REST};

    if (send(p->status_fd, &m, sizeof m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        kill_tree(p);
}

static void on_helper_message(struct kage_process *p, struct kage_sandbox_msg *m)
{
    m->text[sizeof m->text - 1] = '\0';
    switch (m->kind) {
    case KAGE_SANDBOX_STARTED:
        on_started(p);
        break;
    case KAGE_SANDBOX_SETUP_FAILED:
        if (p->state == WAITING) {
            KAGE_CLEANUP(kage_freep)
            char *what = kage_asprintf("cannot set up the sandbox: %s", m->text);

            fail(p, m->value, what);
        }
        break;
    case KAGE_SANDBOX_EXEC_FAILED:
        if (p->state == WAITING) {
            KAGE_CLEANUP(kage_freep)
            char *what = kage_asprintf("cannot run '%s'", p->command);

            fail(p, m->value, what);
        }
        break;
    case KAGE_SANDBOX_ENDED:
        p->have_status = true;
        p->wait_status = m->value;
        if (p->confined && kage_cgroup_processes(&p->cgroup) == INIT_AND_COMMAND)
            on_all_dead(p);
        else
            end_rest(p);
        break;
    case KAGE_SANDBOX_EXITED:
        on_all_dead(p);
        break;
    default:
        break;
    }
}

/* Returns false when the socket is at its end or has nothing more for now. */
static bool read_helper_message(struct kage_process *p)
{
    struct kage_sandbox_msg m;
    ssize_t n = recv(p->status_fd, &m, sizeof m, MSG_DONTWAIT);

    if (n == (ssize_t)sizeof m) {
        on_helper_message(p, &m);
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    kage_watch_set(p->status_watch, 0); /* the end: reaping the helper tells the rest */
    return false;
}

static void on_status(uint32_t events, void *user)
{
    struct kage_process *p = user;

    /* One at a time: what STARTED sets off may reach this process again. */
    read_helper_message(p);
}

bool kage_process_reaped(struct kage_guest *guest, pid_t pid, int status)
{
    struct kage_process *p = guest->processes;

    while (p && (p->pid != pid || p->reaped))
        p = p->next;
    if (!p)
        return false;
    while (read_helper_message(p))
        ;
    p->reaped = true;
    kage_timer_set(p->kill_timer, 0);
    kage_watch_set(p->status_watch, 0);
    if (p->state == WAITING) {
        KAGE_CLEANUP(kage_freep)
        char *what = kage_asprintf("sandbox-helper ended with %s %d before the command started",
                                   WIFSIGNALED(status) ? "signal" : "code",
                                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        fail(p, 0, what);
    }
    if (p->state == OVER)
        process_free(p);
    else
        on_dead(p);
    return true;
}

/* ---- starting ---- */

static int watch(struct kage_process *p, struct kage_launch *l, bool text, struct kage_error *err)
{
    struct kage_loop *loop = p->guest->loop;
    const struct kage_output output = {.fd = -1,
                                       .text = text,
                                       .ready = on_ready,
                                       .take = on_output,
                                       .ended = on_output_end,
                                       .user = p};

    p->out = p->err = output;
    p->in = (struct kage_input){.fd = -1, .tty = p->pty, .consumed = on_consumed, .user = p};
    if (kage_watch_new(loop, p->status_fd, EPOLLIN, on_status, p, &p->status_watch, err) < 0 ||
        kage_timer_new(loop, on_kill_timer, p, &p->kill_timer, err) < 0 ||
        kage_timer_new(loop, on_adopted, p, &p->adopted_timer, err) < 0)
        return -1;
    if (kage_output_open(&p->out, loop, kage_take_fd(&l->out_fd), err) < 0)
        return -1;
    if (l->err_fd >= 0 && kage_output_open(&p->err, loop, kage_take_fd(&l->err_fd), err) < 0)
        return -1;
    return l->in_fd < 0 ? 0 : kage_input_open(&p->in, loop, kage_take_fd(&l->in_fd), err);
}

int kage_process_spawn(struct kage_guest *guest, const struct kage_msg *request,
                       const struct kage_process_sink *sink, void *user, bool text,
                       struct kage_process **ret, struct kage_refusal *why)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_process *p;
    struct kage_launch l;

    if (kage_launch(guest, request, &l, why) < 0)
        return -1;
    p = kage_alloc(sizeof *p);
    *p = (struct kage_process){.guest = guest,
                               .next = guest->processes,
                               .id = request->id,
                               .command = kage_strdup(request->spawn.command),
                               .pid = l.pid,
                               .uid = l.uid,
                               .detached = request->spawn.detach,
                               .pty = request->spawn.pty,
                               .confined = l.confined,
                               .status_fd = l.status_fd,
                               .slave_fd = l.slave_fd,
                               .cgroup = l.cgroup,
                               .sink = sink,
                               .user = user};
    p->bury = (struct kage_later){.fn = on_bury, .user = p};
    snprintf(p->handle, sizeof p->handle, "p%llu", ++guest->last_handle);
    guest->processes = p;
    if (watch(p, &l, text, &err) < 0) {
        kage_refuse(why, KAGE_RPC_SPAWN, 0, "%s", err.message);
        kage_error_done(&err);
        kill(p->pid, SIGKILL); /* has run nothing yet; the reaper takes what is left of it */
        kage_closep(&l.in_fd);
        kage_closep(&l.out_fd);
        kage_closep(&l.err_fd);
        process_free(p);
        return -1;
    }
    *ret = p;
    return 0;
}

/* ---- finding ---- */

struct kage_process *kage_process_by_handle(struct kage_guest *guest, const char *handle)
{
    for (struct kage_process *p = guest->processes; p; p = p->next)
        if (kage_process_running(p) && !strcmp(p->handle, handle))
            return p;
    return NULL;
}

struct kage_process *kage_process_by_id(struct kage_guest *guest, void *user, int64_t id)
{
    for (struct kage_process *p = guest->processes; p; p = p->next)
        if (p->sink && p->user == user && p->id == id)
            return p;
    return NULL;
}

bool kage_process_was(const struct kage_guest *guest, const char *handle)
{
    char *end = NULL;
    unsigned long long n;

    if (handle[0] != 'p' || handle[1] < '1' || handle[1] > '9')
        return false;
    errno = 0;
    n = strtoull(handle + 1, &end, 10);
    return !errno && !*end && n <= guest->last_handle;
}

int64_t kage_process_id(const struct kage_process *p)
{
    return p->id;
}

pid_t kage_process_pid(const struct kage_process *p)
{
    return p->pid;
}

const char *kage_process_handle(const struct kage_process *p)
{
    return p->handle;
}

bool kage_process_running(const struct kage_process *p)
{
    return p->state == RUNNING || p->state == DRAINING;
}

/* ---- what clients ask of it ---- */

int kage_process_write(struct kage_process *p, const char *data, size_t len,
                       struct kage_refusal *why)
{
    if (p->in.broken)
        return kage_refuse(why, KAGE_RPC_INVALID_REQUEST, EPIPE,
                           "the process no longer reads its standard input");
    if (p->in.fd < 0 || p->in.closing)
        return kage_refuse(why, KAGE_RPC_INVALID_REQUEST, 0, "standard input is closed");
    if (len + kage_input_queued(&p->in) > KAGE_STDIN_WINDOW)
        return kage_refuse(why, KAGE_RPC_INVALID_REQUEST, EAGAIN,
                           "more than %u bytes of standard input would wait for the process",
                           KAGE_STDIN_WINDOW);
    if (len)
        kage_input_write(&p->in, data, len);
    return 0;
}

int kage_process_close_stdin(struct kage_process *p, struct kage_refusal *why)
{
    if (p->in.broken)
        return 0; /* what was asked for is already so */
    if (p->in.fd < 0 || p->in.closing)
        return kage_refuse(why, KAGE_RPC_INVALID_REQUEST, 0, "standard input is closed");
    kage_input_close(&p->in);
    return 0;
}

int kage_process_resize(struct kage_process *p, int rows, int cols, struct kage_refusal *why)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};

    if (!p->pty)
        return kage_refuse(why, KAGE_RPC_INVALID_REQUEST, 0, "the process has no terminal");
    if (p->out.fd >= 0 && ioctl(p->out.fd, TIOCSWINSZ, &size) < 0)
        return kage_refuse(why, KAGE_RPC_INTERNAL, errno, "cannot resize the terminal");
    return 0;
}

int kage_process_kill(struct kage_process *p, int signal, struct kage_refusal *why)
{
    struct kage_sandbox_msg m = {.kind = KAGE_SANDBOX_SIGNAL, .value = signal};

    if (signal == SIGKILL) {
        kill_tree(p);
        return 0;
    }
    if (p->have_status || p->reaped ||
        send(p->status_fd, &m, sizeof m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return kage_refuse(why, KAGE_RPC_NO_PROCESS, ESRCH, "cannot signal process %s", p->handle);
    return 0;
}

void kage_processes_resume(struct kage_guest *guest, void *user)
{
    struct kage_process *next;

    for (struct kage_process *p = guest->processes; p; p = next) {
        next = p->next;
        if (p->sink && p->user == user && kage_process_running(p))
            resume_output(p);
    }
}

void kage_processes_abandon(struct kage_guest *guest, void *user)
{
    struct kage_process *next;

    for (struct kage_process *p = guest->processes; p; p = next) {
        next = p->next;
        if (!p->sink || p->user != user)
            continue;
        p->sink = NULL;
        p->user = NULL;
        if (!p->detached || p->state == WAITING)
            kill_tree(p);
        if (kage_process_running(p))
            resume_output(p); /* read and dropped, so that a detached one does not stand still */
    }
}

static bool id_is_parked(const struct kage_guest *guest, int64_t id)
{
    for (const struct kage_process *p = guest->processes; p; p = p->next)
        if (p->parked && p->id == id)
            return true;
    return false;
}

int kage_processes_park(struct kage_guest *guest, void *user, struct kage_refusal *why)
{
    for (struct kage_process *p = guest->processes; p; p = p->next)
        if (p->sink && p->user == user && id_is_parked(guest, p->id))
            return kage_refuse(why, KAGE_RPC_INVALID_REQUEST, 0,
                               "a process with id %lld is parked already", (long long)p->id);
    for (struct kage_process *p = guest->processes; p; p = p->next) {
        if (!p->sink || p->user != user || !kage_process_running(p))
            continue;
        p->sink = NULL;
        p->user = NULL;
        p->parked = true;
    }
    return 0;
}

int kage_processes_adopt(struct kage_guest *guest, const struct kage_process_sink *sink, void *user,
                         bool text, struct kage_refusal *why)
{
    for (struct kage_process *p = guest->processes; p; p = p->next)
        if (p->sink && p->user == user && id_is_parked(guest, p->id))
            return kage_refuse(why, KAGE_RPC_INVALID_REQUEST, 0,
                               "id %lld belongs to a parked process and to one of this connection",
                               (long long)p->id);
    for (struct kage_process *p = guest->processes; p; p = p->next) {
        if (!p->parked)
            continue;
        p->parked = false;
        p->sink = sink;
        p->user = user;
        p->out.text = p->err.text = text;
        kage_timer_set(p->adopted_timer, 1);
    }
    return 0;
}

bool kage_processes_alive(const struct kage_guest *guest)
{
    for (const struct kage_process *p = guest->processes; p; p = p->next)
        if (!p->dead)
            return true;
    return false;
}

void kage_processes_kill_uid(struct kage_guest *guest, uid_t uid)
{
    for (struct kage_process *p = guest->processes; p; p = p->next)
        if (p->uid == uid)
            kill_tree(p);
}

void kage_processes_kill_all(struct kage_guest *guest)
{
    bool any = guest->processes;

    while (guest->processes) {
        struct kage_process *p = guest->processes;

        p->sink = NULL;
        if (!p->reaped) {
            kage_cgroup_kill(&p->cgroup);
            kill(p->pid, SIGKILL);
        }
        process_free(p);
    }
    /* Process 1 of each namespace dies with its helper and, vmd being their reaper, comes here. */
    while (any && (waitpid(-1, NULL, 0) > 0 || errno == EINTR))
        ;
}
