#include "runner/web/shell.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/loop/loop.h"
#include "runner/session/client.h"
#include "runner/vm/registry.h"
#include "runner/web/wire.h"

#define SPAWN_ID 1u
#define PING_AFTER_MS 3000u
#define SILENT_AFTER_MS 8000u

/* As sshd would start it: the user's own shell as a login shell, in the home folder. vmd sets HOME
 * and SHELL from the guest's passwd. */
static const char login_script[] = "cd 2>/dev/null; exec \"${SHELL:-/bin/sh}\" -l";

struct kage_web_shell {
    const struct kage_web_shell_handler *handler;
    void *user;
    uint32_t number;
    char *vm, *vm_name;
    const struct kage_web_login *login;
    uint16_t rows, cols;

    struct kage_client *client;
    struct kage_timer *disconnect; /* the client cannot be freed from inside its callbacks */
    char *handle;                  /* while it runs */
    enum kage_web_shell_state state;
    int code, signal;
    char *reason;

    struct kage_buf input; /* not yet sent to vmd */
    size_t window;         /* what vmd still takes */

    uint8_t *history; /* KAGE_WEB_HISTORY bytes; offset n is at n modulo that */
    uint64_t end;

    uint64_t ping_sent_ms; /* 0: none on its way */
    bool silent;
};

static void change(struct kage_web_shell *s)
{
    s->handler->on_change(s, s->user);
}

static void finish(struct kage_web_shell *s, enum kage_web_shell_state state, const char *reason)
{
    if (s->state >= KAGE_WEB_SHELL_EXITED)
        return;
    s->state = state;
    s->reason = kage_strdup(reason);
    s->silent = false;
    free(KAGE_TAKE(s->handle));
    kage_buf_done(&s->input);
    kage_timer_set(s->disconnect, 1);
    change(s);
}

static void on_disconnect(void *user)
{
    struct kage_web_shell *s = user;

    kage_client_free(KAGE_TAKE(s->client));
}

/* ---- input ---- */

static void send_input(struct kage_web_shell *s)
{
    size_t sent = 0;

    while (s->handle && s->input.len > sent && s->window) {
        size_t n = s->input.len - sent;

        if (n > s->window)
            n = s->window;
        if (n > KAGE_CHUNK_MAX)
            n = KAGE_CHUNK_MAX;
        kage_client_stdin(s->client, SPAWN_ID, s->input.data + sent, n);
        s->window -= n;
        sent += n;
    }
    if (!sent)
        return;
    kage_buf_consume(&s->input, sent);
    s->handler->on_credit(s, sent, s->user);
}

int kage_web_shell_input(struct kage_web_shell *s, const void *data, size_t len)
{
    if (len > kage_web_shell_credit(s))
        return -1;
    if (s->state >= KAGE_WEB_SHELL_EXITED)
        return 0; /* typed while the news was on its way */
    kage_buf_add(&s->input, data, len);
    send_input(s);
    return 0;
}

size_t kage_web_shell_credit(const struct kage_web_shell *s)
{
    return KAGE_WEB_INPUT_WINDOW - s->input.len;
}

static void on_window(const char *handle, uint64_t bytes, void *user)
{
    struct kage_web_shell *s = user;

    if (!s->handle || strcmp(handle, s->handle) != 0)
        return;
    /* The guest's word, and no reason to send more than the protocol allows. */
    if (bytes > KAGE_STDIN_WINDOW - s->window)
        bytes = KAGE_STDIN_WINDOW - s->window;
    s->window += bytes;
    send_input(s);
}

/* ---- its size ---- */

static void send_size(struct kage_web_shell *s)
{
    struct kage_msg m;

    kage_msg_init(&m, KAGE_MSG_RESIZE);
    m.resize.handle = s->handle;
    m.resize.rows = s->rows;
    m.resize.cols = s->cols;
    kage_client_request_msg(s->client, &m, NULL, NULL);
}

void kage_web_shell_resize(struct kage_web_shell *s, uint16_t rows, uint16_t cols)
{
    if (rows == s->rows && cols == s->cols)
        return;
    s->rows = rows;
    s->cols = cols;
    if (s->handle)
        send_size(s);
}

void kage_web_shell_redraw(struct kage_web_shell *s)
{
    if (!s->handle)
        return;
    s->rows++;
    send_size(s);
    s->rows--;
    send_size(s);
}

/* ---- its start ---- */

static void on_spawned(const struct kage_msg *reply, void *user)
{
    struct kage_web_shell *s = user;

    if (reply->type == KAGE_MSG_ERROR) {
        finish(s, KAGE_WEB_SHELL_FAILED, reply->error.message);
        return;
    }
    kage_client_expect(s->client, SPAWN_ID);
    s->handle = kage_strdup(reply->spawned.handle);
    s->state = KAGE_WEB_SHELL_RUNNING;
    send_size(s); /* it may have changed since the request */
    send_input(s);
    change(s);
}

static void on_ready(const struct kage_msg *hello_ok, void *user)
{
    struct kage_web_shell *s = user;
    char *args[] = {(char *)"-c", (char *)login_script};
    char *env[] = {(char *)"TERM=xterm-256color", (char *)"COLORTERM=truecolor",
                   (char *)"LANG=C.UTF-8"};
    struct kage_msg m;

    s->window = KAGE_STDIN_WINDOW;
    kage_msg_init(&m, KAGE_MSG_SPAWN);
    m.id = SPAWN_ID;
    m.spawn.command = (char *)"/bin/sh";
    m.spawn.args = (struct kage_str_list){.items = args, .n = 2};
    m.spawn.env = (struct kage_str_list){.items = env, .n = 3};
    m.spawn.user = (char *)s->login->user;
    m.spawn.seccomp_profile = (char *)s->login->profile;
    m.spawn.network = s->login->network;
    m.spawn.pty = true;
    m.spawn.rows = s->rows;
    m.spawn.cols = s->cols;
    kage_client_request_msg(s->client, &m, on_spawned, s);
}

/* ---- output ---- */

static void on_output(uint32_t id, bool is_stderr, const uint8_t *data, size_t len, void *user)
{
    struct kage_web_shell *s = user;

    if (len > KAGE_WEB_HISTORY) {
        s->end += len - KAGE_WEB_HISTORY;
        data += len - KAGE_WEB_HISTORY;
        len = KAGE_WEB_HISTORY;
    }
    while (len) {
        size_t at = s->end % KAGE_WEB_HISTORY, n = KAGE_WEB_HISTORY - at;

        if (n > len)
            n = len;
        memcpy(s->history + at, data, n);
        s->end += n;
        data += n;
        len -= n;
    }
    s->handler->on_output(s, s->user);
}

uint64_t kage_web_shell_end(const struct kage_web_shell *s)
{
    return s->end;
}

uint64_t kage_web_shell_start(const struct kage_web_shell *s)
{
    return s->end > KAGE_WEB_HISTORY ? s->end - KAGE_WEB_HISTORY : 0;
}

size_t kage_web_shell_read(const struct kage_web_shell *s, uint64_t offset, void *out, size_t max)
{
    size_t at = offset % KAGE_WEB_HISTORY, n = KAGE_WEB_HISTORY - at;

    if (n > s->end - offset)
        n = s->end - offset;
    if (n > max)
        n = max;
    memcpy(out, s->history + at, n);
    return n;
}

void kage_web_shell_hold(struct kage_web_shell *s, bool held)
{
    if (s->client)
        kage_client_pause(s->client, held);
}

/* ---- its end ---- */

static void on_exit_msg(uint32_t id, const struct kage_msg *exit, void *user)
{
    struct kage_web_shell *s = user;

    s->code = (int)exit->exit.code;
    s->signal = exit->exit.signal == KAGE_UNSET ? 0 : (int)exit->exit.signal;
    finish(s, KAGE_WEB_SHELL_EXITED, exit->exit.out_of_memory ? "out of memory" : NULL);
}

static void on_lost(enum kage_class class, const char *why, void *user)
{
    finish(user, KAGE_WEB_SHELL_LOST, why);
}

static void on_pong(const struct kage_msg *reply, void *user)
{
    struct kage_web_shell *s = user;
    bool was_silent = s->silent;

    s->ping_sent_ms = 0;
    s->silent = false;
    if (was_silent)
        change(s);
}

void kage_web_shell_tick(struct kage_web_shell *s)
{
    uint64_t now = kage_now_ms(), heard;

    if (s->state != KAGE_WEB_SHELL_RUNNING || !s->client)
        return;
    heard = kage_client_last_heard(s->client); /* now, while it is held */
    if (s->ping_sent_ms && !s->silent && now - heard > SILENT_AFTER_MS) {
        s->silent = true;
        change(s);
    } else if (!s->ping_sent_ms && now - heard > PING_AFTER_MS) {
        s->ping_sent_ms = now;
        kage_client_request(s->client, KAGE_MSG_PING, "{}", on_pong, s);
    }
}

/* ---- life ---- */

static const struct kage_client_handler client_handler = {
    .on_ready = on_ready,
    .on_output = on_output,
    .on_exit = on_exit_msg,
    .on_window = on_window,
    .on_lost = on_lost,
};

int kage_web_shell_new(struct kage_loop *loop, struct kage_ws *ws, uint32_t number,
                       const struct kage_vm *vm, const struct kage_web_login *login, uint16_t rows,
                       uint16_t cols, const struct kage_web_shell_handler *handler, void *user,
                       struct kage_web_shell **ret, struct kage_error *err)
{
    struct kage_web_shell *s = kage_alloc(sizeof *s);

    *s = (struct kage_web_shell){
        .handler = handler,
        .user = user,
        .number = number,
        .vm = kage_strdup(vm->id),
        .vm_name = kage_strdup(vm->name),
        .login = login,
        .rows = rows,
        .cols = cols,
        .history = kage_alloc(KAGE_WEB_HISTORY),
    };
    if (kage_timer_new(loop, on_disconnect, s, &s->disconnect, err) < 0 ||
        kage_client_connect(loop, ws, vm->port, vm->token, &client_handler, s, &s->client, err) <
            0) {
        kage_web_shell_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

void kage_web_shell_free(struct kage_web_shell *s)
{
    if (!s)
        return;
    kage_client_free(s->client);
    kage_timer_free(s->disconnect);
    kage_buf_done(&s->input);
    free(s->history);
    free(s->handle);
    free(s->reason);
    free(s->vm);
    free(s->vm_name);
    free(s);
}

uint32_t kage_web_shell_number(const struct kage_web_shell *s)
{
    return s->number;
}

const char *kage_web_shell_vm(const struct kage_web_shell *s)
{
    return s->vm;
}

const char *kage_web_shell_vm_name(const struct kage_web_shell *s)
{
    return s->vm_name;
}

struct kage_web_shell_status kage_web_shell_status(const struct kage_web_shell *s)
{
    return (struct kage_web_shell_status){.state = s->state,
                                          .silent = s->silent,
                                          .code = s->code,
                                          .signal = s->signal,
                                          .reason = s->reason};
}
