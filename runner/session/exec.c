#include "runner/session/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"
#include "common/proto/message.h"
#include "runner/session/client.h"
#include "runner/session/exec_state.h"
#include "runner/session/feed.h"
#include "runner/session/tty.h"

/*
 * Theory of operation. Everything hangs on one loop:
 *
 *   connect → hello and ping → (login shell: read passwd →) spawn → spawned → … → exit
 *
 * From `spawned` on, input flows as far as the guest's window allows, and output as far as its
 * readers take it: when one of them is behind, the whole connection is paused and TCP holds the
 * guest back. kage_exec_finish() fixes the end; what is queued for the readers is still written,
 * unless the user or a reader gave it up.
 */
#define TICK_MS 10000
#define UNANSWERED_MAX 6    /* as for jobs: pings in a row without a sign of life */
#define CONNECT_TICKS_MAX 3 /* until the first one */
#define TERM_GRACE_MS 5000  /* between TERM and KILL when time is over */
#define KILL_GRACE_MS 15000 /* until the guest must have told the end */
#define INSIST_MS 1000      /* within it, a repeated INT means business */

static void spawn(struct kage_exec_state *x);

/* ---- the end ---- */

void kage_exec_finish(struct kage_exec_state *x, int code, char *message)
{
    if (x->done) {
        free(message);
        return;
    }
    x->done = true;
    x->end->code = code;
    x->end->message = message;
    kage_timer_set(x->tick, 0);
    kage_timer_set(x->limit, 0);
    kage_timer_set(x->leave, 0);
    kage_timer_set(x->finished, 1); /* not under the feet of a callback of the client */
}

void kage_exec_give_up(struct kage_exec_state *x, int code, char *message)
{
    x->given_up = true;
    kage_exec_finish(x, code, message);
}

bool kage_exec_is_written(const struct kage_exec_state *x)
{
    return x->given_up ||
           ((!x->out || !kage_output_pending(x->out)) && (!x->err || !kage_output_pending(x->err)));
}

static void on_finished(void *user)
{
    struct kage_exec_state *x = user;

    kage_feed_free(x->feed);
    x->feed = NULL;
    kage_client_free(x->client);
    x->client = NULL;
    if (kage_exec_is_written(x))
        kage_loop_quit(x->loop);
}

/* ---- signals to the command ---- */

void kage_exec_signal(struct kage_exec_state *x, int signo)
{
    struct kage_msg m;

    kage_msg_init(&m, KAGE_MSG_KILL);
    m.kill.handle = x->handle;
    m.kill.signal = signo;
    kage_client_request_msg(x->client, &m, NULL, NULL);
}

void kage_exec_leave_later(struct kage_exec_state *x, int code, uint64_t ms)
{
    x->leave_code = code;
    kage_timer_set(x->leave, ms);
}

static void on_leave(void *user)
{
    struct kage_exec_state *x = user;

    kage_exec_give_up(x, x->leave_code, NULL);
}

static void on_limit(void *user)
{
    struct kage_exec_state *x = user;

    if (x->handle && x->kills < 2) {
        kage_exec_signal(x, x->kills == 0 ? SIGTERM : SIGKILL);
        kage_timer_set(x->limit, x->kills == 0 ? TERM_GRACE_MS : KILL_GRACE_MS);
        x->kills++;
        return;
    }
    kage_exec_finish(x, KAGE_EXEC_TIMEOUT,
                     kage_strdup(x->handle
                                     ? "the command ran out of time and did not end when killed"
                                     : "time ran out before the command started"));
}

static void follow_size(struct kage_exec_state *x)
{
    const int fds[] = {x->what->out, x->what->in, x->what->err};
    struct kage_msg m;
    int rows, cols;

    if (!x->what->pty || !x->handle || !kage_tty_size(fds, 3, &rows, &cols))
        return;
    kage_msg_init(&m, KAGE_MSG_RESIZE);
    m.resize.handle = x->handle;
    m.resize.rows = rows;
    m.resize.cols = cols;
    kage_client_request_msg(x->client, &m, NULL, NULL);
}

/* A second INT that finds the command as if nothing had happened, or a third one, which may be
 * because what it writes has nothing to do with the first. */
static bool insists(struct kage_exec_state *x, uint64_t now)
{
    bool second = x->interrupts_ms[0] && now - x->interrupts_ms[0] <= INSIST_MS;
    bool third = x->interrupts_ms[1] && now - x->interrupts_ms[1] <= INSIST_MS;

    if ((second && !x->reacted) || third)
        return true;
    x->interrupts_ms[1] = x->interrupts_ms[0];
    x->interrupts_ms[0] = now;
    x->reacted = false;
    return false;
}

static void on_signal(int signo, void *user)
{
    struct kage_exec_state *x = user;
    uint64_t now = kage_now_ms();

    if (signo == SIGWINCH) {
        if (!x->done)
            follow_size(x);
        return;
    }
    if (x->done) { /* the rest of the output is not wanted */
        x->given_up = true;
        kage_loop_quit(x->loop);
        return;
    }
    if (!x->handle) {
        kage_exec_give_up(x, 128 + signo, NULL);
        return;
    }
    if (signo == SIGINT && insists(x, now)) {
        kage_exec_signal(x, SIGKILL);
        kage_exec_give_up(x, 128 + SIGINT, NULL);
        return;
    }
    kage_exec_signal(x, signo);
    if (signo == SIGHUP && x->what->pty)
        kage_exec_leave_later(x, 128 + SIGHUP, KAGE_EXEC_HANGUP_MS);
}

/* ---- the command ---- */

static void on_exit_msg(uint32_t id, const struct kage_msg *m, void *user)
{
    struct kage_exec_state *x = user;
    char *message = NULL;
    int code = (int)m->exit.code;

    if (x->kills) {
        KAGE_CLEANUP(kage_freep) char *limit = kage_duration_text(x->what->timeout_ms);

        message = kage_asprintf("the command ran longer than its timeout of %s", limit);
        code = KAGE_EXEC_TIMEOUT;
    } else if (m->exit.out_of_memory) {
        message = kage_strdup("the command ran out of memory and was killed");
    }
    kage_exec_finish(x, code, message);
}

/* 127 when there is no such program, 126 when it cannot be executed, as shells do. Without an errno
 * it is the request that was refused, and that is no verdict. */
static void on_not_started(struct kage_exec_state *x, const struct kage_msg *error)
{
    KAGE_CLEANUP(kage_freep)
    char *why = kage_printable(error->error.message, strlen(error->error.message));
    int code = KAGE_EXEC_NOT_EXECUTABLE;

    if (!x->what->command && !x->in_root) {
        x->in_root = true; /* a home that is not there keeps nobody out */
        spawn(x);
        return;
    }
    if (error->error.errnum == KAGE_UNSET)
        code = KAGE_EXEC_NO_VERDICT;
    else if (error->error.errnum == ENOENT)
        code = KAGE_EXEC_NOT_FOUND;
    kage_exec_finish(x, code, KAGE_TAKE(why));
}

static void on_spawned(const struct kage_msg *reply, void *user)
{
    struct kage_exec_state *x = user;

    if (x->done)
        return;
    if (reply->type == KAGE_MSG_ERROR) {
        on_not_started(x, reply);
        return;
    }
    x->handle = kage_strdup(reply->spawned.handle);
    kage_client_expect(x->client, KAGE_EXEC_PROCESS);
    if (x->what->pty && x->what->in >= 0 && isatty(x->what->in))
        kage_tty_make_raw(x->what->in);
    follow_size(x); /* it may have changed since */
    kage_exec_start_input(x);
}

static bool has_env(const struct kage_exec *what, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < what->n_env; i++)
        if (!strncmp(what->env[i], name, n) && what->env[i][n] == '=')
            return true;
    return false;
}

static void spawn(struct kage_exec_state *x)
{
    const struct kage_exec *what = x->what;
    const int fds[] = {what->out, what->in, what->err};
    KAGE_CLEANUP(kage_freep) char **env = kage_alloc((what->n_env + 1) * sizeof *env);
    KAGE_CLEANUP(kage_freep) char *term = NULL;
    char *login_args[] = {(char *)"-l"};
    struct kage_msg m;
    int rows, cols;

    kage_msg_init(&m, KAGE_MSG_SPAWN);
    m.id = KAGE_EXEC_PROCESS;
    m.spawn.command = what->command ? (char *)what->command : x->login.shell;
    m.spawn.args = (struct kage_str_list){.items = (char **)what->args, .n = what->n_args};
    m.spawn.cwd = (char *)what->cwd;
    if (!what->command) {
        m.spawn.args = (struct kage_str_list){.items = login_args, .n = 1};
        m.spawn.cwd = x->in_root ? (char *)"/" : x->login.home;
    }
    m.spawn.user = (char *)what->user;
    m.spawn.seccomp_profile = (char *)what->profile;
    m.spawn.network = what->network;
    m.spawn.pty = what->pty;
    m.spawn.builtin = what->builtin;
    m.spawn.no_stdin = what->in < 0 && !what->pty;
    for (size_t i = 0; i < what->n_env; i++)
        env[i] = what->env[i];
    m.spawn.env = (struct kage_str_list){.items = env, .n = what->n_env};
    if (what->pty && !has_env(what, "TERM") && getenv("TERM") && *getenv("TERM")) {
        term = kage_asprintf("TERM=%s", getenv("TERM"));
        env[m.spawn.env.n++] = term;
    }
    if (what->pty && kage_tty_size(fds, 3, &rows, &cols)) {
        m.spawn.rows = rows;
        m.spawn.cols = cols;
    }
    kage_client_request_msg(x->client, &m, on_spawned, x);
}

static void on_passwd(const struct kage_msg *reply, void *user)
{
    struct kage_exec_state *x = user;
    bool data = reply->type == KAGE_MSG_DATA;

    if (x->done)
        return;
    kage_login_find(data ? reply->output.data : NULL, data ? reply->output.data_len : 0,
                    x->what->user ? x->what->user : "root", &x->login);
    spawn(x);
}

static void on_ready(const struct kage_msg *hello_ok, void *user)
{
    struct kage_exec_state *x = user;
    struct kage_msg m;

    x->ready = true;
    x->window = KAGE_STDIN_WINDOW;
    if (hello_ok->hello_ok.stdin_window > 0 && hello_ok->hello_ok.stdin_window < KAGE_STDIN_WINDOW)
        x->window = (uint64_t)hello_ok->hello_ok.stdin_window;
    if (x->what->command) {
        spawn(x);
        return;
    }
    kage_msg_init(&m, KAGE_MSG_FS_READ);
    m.fs_read.path = (char *)"/etc/passwd";
    kage_client_request_msg(x->client, &m, on_passwd, x);
}

static void on_lost(enum kage_class class, const char *why, void *user)
{
    struct kage_exec_state *x = user;

    if (x->done)
        return;
    x->end->lost = class == KAGE_CLASS_AGENT_LOST;
    kage_exec_finish(x, KAGE_EXEC_NO_VERDICT,
                     kage_asprintf(x->ready ? "lost the connection to vmd in the guest: %s"
                                            : "cannot connect to vmd in the guest: %s",
                                   why));
}

static const struct kage_client_handler client_handler = {.on_ready = on_ready,
                                                          .on_output = kage_exec_on_output,
                                                          .on_exit = on_exit_msg,
                                                          .on_window = kage_exec_on_window,
                                                          .on_lost = on_lost};

static void on_tick(void *user)
{
    struct kage_exec_state *x = user;

    kage_timer_set(x->tick, TICK_MS);
    if (x->ready ? kage_client_unanswered(x->client) >= UNANSWERED_MAX
                 : ++x->ticks > CONNECT_TICKS_MAX) {
        x->end->lost = true;
        kage_exec_give_up(x, KAGE_EXEC_NO_VERDICT, kage_strdup("vmd in the guest does not answer"));
        return;
    }
    if (x->ready && kage_now_ms() - kage_client_last_heard(x->client) >= TICK_MS)
        kage_client_ping(x->client);
}

/* ---- set-up ---- */

static int set_up(struct kage_exec_state *x, uint16_t port, const char *token,
                  struct kage_error *err)
{
    static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
    sigset_t signals;

    kage_loop_unignored(wanted, sizeof wanted / sizeof *wanted, &signals);
    if (kage_loop_new(&x->loop, err) < 0 ||
        kage_loop_signals(x->loop, &signals, on_signal, x, err) < 0 ||
        kage_ws_new(x->loop, &x->ws, err) < 0)
        return -1;
    if (x->what->out >= 0 &&
        kage_output_new(x->loop, x->what->out, &kage_exec_out_handler, x, &x->out, err) < 0)
        return -1;
    if (x->what->err >= 0 && !x->what->err_text &&
        kage_output_new(x->loop, x->what->err, &kage_exec_err_handler, x, &x->err, err) < 0)
        return -1;
    if (kage_timer_new(x->loop, on_tick, x, &x->tick, err) < 0 ||
        kage_timer_new(x->loop, on_limit, x, &x->limit, err) < 0 ||
        kage_timer_new(x->loop, on_leave, x, &x->leave, err) < 0 ||
        kage_timer_new(x->loop, on_finished, x, &x->finished, err) < 0)
        return -1;
    kage_timer_set(x->tick, TICK_MS);
    kage_timer_set(x->limit, x->what->timeout_ms);
    return kage_client_connect(x->loop, x->ws, port, token, &client_handler, x, &x->client, err);
}

static void tear_down(struct kage_exec_state *x)
{
    kage_tty_restore();
    kage_feed_free(x->feed);
    kage_client_free(x->client);
    kage_output_free(x->out);
    kage_output_free(x->err);
    kage_ws_free(x->ws);
    kage_timer_free(x->tick);
    kage_timer_free(x->limit);
    kage_timer_free(x->leave);
    kage_timer_free(x->finished);
    kage_loop_free(x->loop);
    kage_login_done(&x->login);
    free(x->handle);
}

void kage_exec_run(uint16_t port, const char *token, const struct kage_exec *what,
                   struct kage_exec_end *ret)
{
    struct kage_exec_state x = {.what = what, .end = ret};
    struct kage_error err = KAGE_ERROR_INIT;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old_pipe;
    sigset_t old_mask;

    *ret = (struct kage_exec_end){.code = KAGE_EXEC_NO_VERDICT};
    sigprocmask(SIG_SETMASK, NULL, &old_mask);
    sigaction(SIGPIPE, &ignore, &old_pipe);
    if (set_up(&x, port, token, &err) < 0 || kage_loop_run(x.loop, &err) < 0) {
        free(ret->message);
        ret->code = KAGE_EXEC_NO_VERDICT;
        ret->message = KAGE_TAKE(err.message);
    }
    tear_down(&x);
    kage_error_done(&err);
    sigaction(SIGPIPE, &old_pipe, NULL);
    sigprocmask(SIG_SETMASK, &old_mask, NULL);
}

void kage_exec_end_done(struct kage_exec_end *end)
{
    free(end->message);
    *end = (struct kage_exec_end){0};
}
