#include "guest/server.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/loop/line.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"
#include "common/proto/message.h"
#include "guest/files.h"
#include "guest/guest.h"
#include "guest/mounts.h"
#include "guest/network.h"
#include "guest/probe.h"
#include "guest/process.h"
#include "guest/refusal.h"
#include "guest/resume.h"
#include "guest/session.h"
#include "guest/token.h"

/*
 * Theory of operation. Each connection is a client with a queue of messages, and so
 * is the control port, whoever is at its other end. A message is carried out and
 * answered before the next one is looked at, so answers come in the order of the
 * requests. Two things make a client wait with the rest of its queue: a spawn whose
 * command has not started yet, and answers that nobody reads. Meanwhile reading from
 * the connection is paused, which holds the client back.
 */

/* Unread answers beyond this stop a client's requests. Output alone cannot get there: it stops at
 * KAGE_CONN_HIGH_WATER, so a client that does not read output can still kill. */
#define ANSWERS_MAX (4u * 1024u * 1024u)

/* An id and a message header fit before the bytes of a raw frame. */
#define RAW_HEADER (KAGE_FRAME_HEADER + 4u)

struct waiting {
    struct waiting *next;
    size_t len;
    uint8_t data[];
};

struct kage_client {
    struct kage_guest *guest;
    struct kage_conn *conn;
    struct kage_client *next;
    bool on_line; /* there are no connections on a line: each hello begins one */
    bool hello, raw, times;
    uint64_t asked_us;             /* when `starting` was asked for, if times are wanted */
    struct kage_process *starting; /* the spawn that has not been answered yet */
    struct waiting *first, **last;
    bool paused;
};

/* ---- sending ---- */

static void send_msg(struct kage_client *c, const struct kage_msg *m)
{
    uint8_t header[KAGE_FRAME_HEADER];
    struct kage_buf body = {0};

    kage_msg_encode(m, &body);
    kage_frame_header(header, (enum kage_msg_type)m->type, (uint32_t)body.len);
    kage_conn_send(c->conn, header, sizeof header, body.data, body.len);
    kage_buf_done(&body);
}

static void reply_error(struct kage_client *c, int64_t id, const struct kage_refusal *why)
{
    struct kage_msg m;

    kage_msg_init(&m, KAGE_MSG_ERROR);
    m.id = id;
    m.error.code = why->code;
    m.error.message = why->message;
    if (why->errnum > 0)
        m.error.errnum = why->errnum;
    send_msg(c, &m);
}

static void reply_ok(struct kage_client *c, int64_t id)
{
    struct kage_msg m;

    kage_msg_init(&m, KAGE_MSG_OK);
    m.id = id;
    send_msg(c, &m);
}

/* The usual end of a request that has nothing to tell but whether it worked. Takes *why. */
static void reply(struct kage_client *c, int64_t id, int result, struct kage_refusal *why)
{
    if (result < 0)
        reply_error(c, id, why);
    else
        reply_ok(c, id);
    kage_refusal_done(why);
}

static void reply_data(struct kage_client *c, int64_t id, int result, struct kage_buf *data,
                       struct kage_refusal *why)
{
    struct kage_msg m;

    if (result < 0) {
        reply(c, id, result, why);
    } else {
        kage_msg_init(&m, KAGE_MSG_DATA);
        m.id = id;
        m.output.data = data->data;
        m.output.data_len = data->len;
        send_msg(c, &m);
    }
    kage_buf_done(data);
}

static void put_u32(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get_u32(const uint8_t *in)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++)
        v |= (uint32_t)in[i] << (8 * i);
    return v;
}

/* ---- what processes report ---- */

static void go_on(struct kage_client *c);

static void on_started(struct kage_process *p, void *user)
{
    struct kage_client *c = user;
    struct kage_msg m;

    kage_msg_init(&m, KAGE_MSG_SPAWNED);
    m.id = kage_process_id(p);
    m.spawned.pid = kage_process_pid(p);
    m.spawned.handle = (char *)kage_process_handle(p);
    if (c->times) {
        m.spawned.asked_us = (int64_t)c->asked_us;
        m.spawned.started_us = (int64_t)kage_now_us();
    }
    send_msg(c, &m);
    c->starting = NULL;
    go_on(c);
}

static void on_failed(struct kage_process *p, const struct kage_refusal *why, void *user)
{
    struct kage_client *c = user;

    reply_error(c, kage_process_id(p), why);
    c->starting = NULL;
    go_on(c);
}

static bool on_ready(void *user)
{
    const struct kage_client *c = user;

    return kage_conn_queued(c->conn) < KAGE_CONN_HIGH_WATER;
}

static void on_output(struct kage_process *p, bool is_stderr, const char *data, size_t len,
                      void *user)
{
    struct kage_client *c = user;
    uint8_t header[RAW_HEADER];
    struct kage_msg m;

    if (c->raw) {
        kage_frame_header(header, is_stderr ? KAGE_MSG_STDERR_RAW : KAGE_MSG_STDOUT_RAW,
                          (uint32_t)len + 4);
        put_u32(header + KAGE_FRAME_HEADER, (uint32_t)kage_process_id(p));
        kage_conn_send(c->conn, header, sizeof header, data, len);
        return;
    }
    kage_msg_init(&m, is_stderr ? KAGE_MSG_STDERR : KAGE_MSG_STDOUT);
    m.id = kage_process_id(p);
    m.output.data = (char *)data;
    m.output.data_len = len;
    send_msg(c, &m);
}

static void on_consumed(struct kage_process *p, size_t bytes, void *user)
{
    struct kage_client *c = user;
    struct kage_msg m;

    if (!c->hello)
        return;
    kage_msg_init(&m, KAGE_MSG_STDIN_WINDOW);
    m.id = kage_process_id(p);
    m.stdin_window.handle = (char *)kage_process_handle(p);
    m.stdin_window.bytes = (int64_t)bytes;
    send_msg(c, &m);
}

static void on_exited(struct kage_process *p, int code, int signal, bool out_of_memory, void *user)
{
    struct kage_client *c = user;
    struct kage_msg m;

    kage_msg_init(&m, KAGE_MSG_EXIT);
    m.id = kage_process_id(p);
    m.exit.code = code;
    if (signal)
        m.exit.signal = signal;
    m.exit.out_of_memory = out_of_memory;
    if (c->times)
        m.exit.ended_us = (int64_t)kage_now_us();
    send_msg(c, &m);
}

static const struct kage_process_sink sink = {
    .started = on_started,
    .failed = on_failed,
    .ready = on_ready,
    .output = on_output,
    .consumed = on_consumed,
    .exited = on_exited,
};

/* ---- the requests ---- */

/* By handle, which may be another connection's process, or by the id this connection gave it. */
static struct kage_process *find_process(struct kage_client *c, const char *handle, int64_t id,
                                         struct kage_refusal *why)
{
    struct kage_process *p = NULL;

    if (handle)
        p = kage_process_by_handle(c->guest, handle);
    else if (id != KAGE_UNSET)
        p = kage_process_by_id(c->guest, c, id);
    if (!p && handle)
        kage_refuse(why, KAGE_RPC_NO_PROCESS, 0, "there is no process '%s'", handle);
    else if (!p && id != KAGE_UNSET)
        kage_refuse(why, KAGE_RPC_NO_PROCESS, 0, "there is no process with id %lld", (long long)id);
    else if (!p)
        kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0, "field 'handle' is missing");
    return p;
}

static void do_spawn(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r;

    if (c->times)
        c->asked_us = kage_now_us();
    if (m->id == KAGE_UNSET)
        r = kage_refuse(&why, KAGE_RPC_INVALID_PARAMS, 0, "field 'id' is missing");
    else if (kage_process_by_id(c->guest, c, m->id))
        r = kage_refuse(&why, KAGE_RPC_INVALID_REQUEST, 0,
                        "id %lld belongs to a process that still runs", (long long)m->id);
    else
        r = kage_process_spawn(c->guest, m, &sink, c, !c->raw, &c->starting, &why);
    if (r < 0)
        reply(c, m->id, r, &why);
}

static void do_stdin(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    struct kage_process *p = find_process(c, m->input.handle, m->id, &why);
    int r = p ? kage_process_write(p, m->input.data, m->input.data_len, &why) : -1;

    reply(c, m->id, r, &why);
}

static void do_stdin_close(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    struct kage_process *p = find_process(c, m->input.handle, m->id, &why);
    int r = p ? kage_process_close_stdin(p, &why) : -1;

    reply(c, m->id, r, &why);
}

static void do_kill(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    struct kage_process *p = find_process(c, m->kill.handle, m->id, &why);
    int r = p ? kage_process_kill(p, m->kill.signal == KAGE_UNSET ? 15 : (int)m->kill.signal, &why)
              : -1;

    reply(c, m->id, r, &why);
}

static void do_resize(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    struct kage_process *p = find_process(c, m->resize.handle, m->id, &why);
    int r = p ? kage_process_resize(p, (int)m->resize.rows, (int)m->resize.cols, &why) : -1;

    reply(c, m->id, r, &why);
}

static void do_mount(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r = kage_mount_add(c->guest, m, &why);

    reply(c, m->id, r, &why);
}

static void do_unmount(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r = kage_mount_remove(c->guest, m, &why);

    reply(c, m->id, r, &why);
}

static void do_session_create(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    struct kage_msg ok;

    kage_msg_init(&ok, KAGE_MSG_OK);
    ok.id = m->id;
    if (kage_session_create(c->guest, m, &ok, &why) < 0)
        reply_error(c, m->id, &why);
    else
        send_msg(c, &ok);
    kage_msg_done(&ok);
    kage_refusal_done(&why);
}

static void do_session_destroy(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r = kage_session_destroy(c->guest, m, &why);

    reply(c, m->id, r, &why);
}

static void do_binary_install(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r = kage_binary_install(c->guest, m, &why);

    reply(c, m->id, r, &why);
}

static void do_fs_read(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    struct kage_buf data = {0};
    int r = kage_fs_read(m, &data, &why);

    reply_data(c, m->id, r, &data, &why);
}

static void do_load_state(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    struct kage_buf data = {0};
    int r = kage_load_state(m, &data, &why);

    reply_data(c, m->id, r, &data, &why);
}

static void do_is_running(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_process *p = kage_process_by_handle(c->guest, m->is_running.handle);
    struct kage_refusal why = {0};
    struct kage_msg status;

    if (!p && !kage_process_was(c->guest, m->is_running.handle)) {
        kage_refuse(&why, KAGE_RPC_NO_PROCESS, 0, "there never was a process '%s'",
                    m->is_running.handle);
        reply(c, m->id, -1, &why);
        return;
    }
    kage_msg_init(&status, KAGE_MSG_RUNNING_STATUS);
    status.id = m->id;
    status.running_status.handle = m->is_running.handle;
    status.running_status.running = p;
    if (p)
        status.running_status.pid = kage_process_pid(p);
    send_msg(c, &status);
}

/* What a client may ask for in hello, and what vmd offers to all who say it. */
static const char *const features[] = {
    "raw",     "network_status", "spawn", "stdin_close", "resume",
    "builtin", "probe",          "times", "prepare",     "park"};

static bool asks_for(const struct kage_msg *hello, const char *feature)
{
    for (size_t i = 0; i < hello->hello.features.n; i++)
        if (!strcmp(hello->hello.features.items[i], feature))
            return true;
    return false;
}

/* What commands with `network` can reach. */
static void send_network_status(struct kage_client *c)
{
    bool open = c->guest->open_net_fd >= 0;
    struct kage_msg m;

    kage_msg_init(&m, KAGE_MSG_NETWORK_STATUS);
    m.network_status.connected = open;
    m.network_status.interface = (char *)(open ? KAGE_NETWORK_INTERFACE : "lo");
    m.network_status.ip_address = (char *)(open ? KAGE_NETWORK_ADDRESS : NULL);
    send_msg(c, &m);
}

static void do_hello(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    struct kage_msg ok;

    if (c->on_line) {
        kage_processes_abandon(c->guest, c);
    } else if (c->hello) {
        kage_refuse(&why, KAGE_RPC_INVALID_REQUEST, 0, "hello was said before");
        reply(c, m->id, -1, &why);
        return;
    }
    c->hello = true;
    c->raw = asks_for(m, "raw");
    c->times = asks_for(m, "times");
    kage_msg_init(&ok, KAGE_MSG_HELLO_OK);
    ok.id = m->id;
    ok.hello_ok.version = KAGE_PROTOCOL_VERSION;
    ok.hello_ok.features =
        (struct kage_str_list){.items = (char **)features, .n = sizeof features / sizeof *features};
    ok.hello_ok.frame_max = KAGE_FRAME_MAX;
    ok.hello_ok.stdin_window = KAGE_STDIN_WINDOW;
    ok.hello_ok.boot_id = c->guest->boot_id;
    if (c->times) {
        ok.hello_ok.began_us = (int64_t)c->guest->began_us;
        ok.hello_ok.listening_us = (int64_t)c->guest->listening_us;
        ok.hello_ok.now_us = (int64_t)kage_now_us();
    }
    send_msg(c, &ok);
    if (asks_for(m, "network_status"))
        send_network_status(c);
}

static void do_resume(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r = kage_resume(c->guest, m, &why);

    reply(c, m->id, r, &why);
}

static void do_probe(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r = kage_probe(c->guest, m, &why);

    reply(c, m->id, r, &why);
}

static void do_park(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r = kage_processes_park(c->guest, c, &why);

    reply(c, m->id, r, &why);
}

static void do_adopt(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int r = kage_processes_adopt(c->guest, &sink, c, !c->raw, &why);

    reply(c, m->id, r, &why);
}

static void do_prepare(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_refusal why = {0};
    int64_t max = m->prepare.max_processes;
    int r = kage_standby_make(c->guest, max == KAGE_UNSET ? 0 : (uint64_t)max, &why);

    reply(c, m->id, r, &why);
}

static void do_ping(struct kage_client *c, const struct kage_msg *m)
{
    struct kage_msg pong;

    kage_msg_init(&pong, KAGE_MSG_PONG);
    pong.id = m->id;
    send_msg(c, &pong);
}

static void do_nothing(struct kage_client *c, const struct kage_msg *m)
{
}

enum { AFTER_HELLO = 1 };

static const struct {
    void (*carry_out)(struct kage_client *c, const struct kage_msg *m);
    unsigned flags;
} requests[256] = {
    [KAGE_MSG_SPAWN] = {do_spawn, 0},
    [KAGE_MSG_STDIN] = {do_stdin, 0},
    [KAGE_MSG_KILL] = {do_kill, 0},
    [KAGE_MSG_RESIZE] = {do_resize, 0},
    [KAGE_MSG_MOUNT] = {do_mount, 0},
    [KAGE_MSG_UNMOUNT] = {do_unmount, 0},
    [KAGE_MSG_SESSION_CREATE] = {do_session_create, 0},
    [KAGE_MSG_BINARY_INSTALL] = {do_binary_install, 0},
    [KAGE_MSG_FS_READ] = {do_fs_read, 0},
    [KAGE_MSG_LOAD_STATE] = {do_load_state, 0},
    [KAGE_MSG_IS_RUNNING] = {do_is_running, 0},
    [KAGE_MSG_SESSION_DESTROY] = {do_session_destroy, 0},
    [KAGE_MSG_HELLO] = {do_hello, 0},
    [KAGE_MSG_STDIN_CLOSE] = {do_stdin_close, AFTER_HELLO},
    [KAGE_MSG_RESUME] = {do_resume, AFTER_HELLO},
    [KAGE_MSG_PROBE] = {do_probe, AFTER_HELLO},
    [KAGE_MSG_PARK] = {do_park, AFTER_HELLO},
    [KAGE_MSG_ADOPT] = {do_adopt, AFTER_HELLO},
    [KAGE_MSG_PREPARE] = {do_prepare, AFTER_HELLO},
    [KAGE_MSG_PING] = {do_ping, 0},
    [KAGE_MSG_PONG] = {do_nothing, 0}, /* an answer: it gets none */
};

/* No reply unless something is wrong: the window tells the sender how it goes. */
static void stdin_raw(struct kage_client *c, const uint8_t *payload, size_t len)
{
    struct kage_refusal why = {0};
    struct kage_process *p;
    int64_t id = KAGE_UNSET;
    int r;

    if (len < 4) {
        r = kage_refuse(&why, KAGE_RPC_INVALID_REQUEST, 0, "a raw frame begins with an id");
    } else {
        id = get_u32(payload);
        p = find_process(c, NULL, id, &why);
        r = p ? kage_process_write(p, (const char *)payload + 4, len - 4, &why) : -1;
    }
    if (r < 0)
        reply(c, id, r, &why);
    kage_refusal_done(&why);
}

static void carry_out(struct kage_client *c, const uint8_t *data, size_t len)
{
    struct kage_refusal why = {0};
    const uint8_t *payload = NULL;
    const char *wrong = NULL;
    size_t payload_len = 0;
    struct kage_msg m;
    int type, r;

    r = kage_frame_parse(data, len, &type, &payload, &payload_len, &wrong);
    if (r) {
        kage_refuse(&why, r, 0, "%s", wrong);
        reply(c, KAGE_UNSET, -1, &why);
        return;
    }
    if ((type == KAGE_MSG_STDIN_RAW || requests[type].flags & AFTER_HELLO) && !c->hello) {
        kage_refuse(&why, KAGE_RPC_UNKNOWN_TYPE, 0, "%s needs a hello first", kage_msg_name(type));
        reply(c, KAGE_UNSET, -1, &why);
        return;
    }
    if (type == KAGE_MSG_STDIN_RAW) {
        stdin_raw(c, payload, payload_len);
        return;
    }
    if (!requests[type].carry_out) {
        kage_refuse(&why, KAGE_RPC_UNKNOWN_TYPE, 0, "%s is not a request", kage_msg_name(type));
        reply(c, KAGE_UNSET, -1, &why);
        return;
    }
    r = kage_msg_decode(&m, (enum kage_msg_type)type, payload, payload_len, &why.message);
    if (r) {
        why.code = r;
        reply(c, m.id, -1, &why);
        return;
    }
    requests[type].carry_out(c, &m);
    kage_msg_done(&m);
}

/* ---- connections ---- */

static bool must_wait(const struct kage_client *c)
{
    return c->starting || kage_conn_queued(c->conn) > ANSWERS_MAX;
}

/* Carries out what has been waiting, as far as it may now. */
static void go_on(struct kage_client *c)
{
    while (c->first && !must_wait(c)) {
        struct waiting *w = c->first;

        c->first = w->next;
        if (!c->first)
            c->last = &c->first;
        carry_out(c, w->data, w->len);
        free(w);
    }
    if (!c->first && c->paused) {
        c->paused = false;
        kage_conn_pause(c->conn, false);
    }
}

static struct kage_client *client_new(struct kage_guest *guest, struct kage_conn *conn)
{
    struct kage_client *c = kage_alloc(sizeof *c);

    *c = (struct kage_client){.guest = guest, .conn = conn, .next = guest->clients};
    c->last = &c->first;
    guest->clients = c;
    kage_conn_set_user(conn, c);
    return c;
}

static void on_open(struct kage_conn *conn, void *user)
{
    client_new(user, conn);
}

static void on_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
    struct kage_client *c = user;
    struct waiting *w;

    if (!c->first && !must_wait(c)) {
        carry_out(c, data, len);
        return;
    }
    w = kage_alloc(sizeof *w + len);
    w->len = len;
    memcpy(w->data, data, len);
    *c->last = w;
    c->last = &w->next;
    if (!c->paused) {
        c->paused = true;
        kage_conn_pause(conn, true);
    }
}

static void on_drain(struct kage_conn *conn, void *user)
{
    struct kage_client *c = user;

    go_on(c);
    kage_processes_resume(c->guest, c);
}

static void client_free(struct kage_client *c)
{
    struct kage_client **at = &c->guest->clients;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    while (c->first) {
        struct waiting *w = c->first;

        c->first = w->next;
        free(w);
    }
    free(c);
}

static void on_close(struct kage_conn *conn, const char *reason, void *user)
{
    struct kage_client *c = user;

    kage_processes_abandon(c->guest, c);
    client_free(c);
}

int kage_server_serve_line(struct kage_guest *guest, int fd, struct kage_error *err)
{
    static const struct kage_conn_handler handler = {
        .on_message = on_message, .on_drain = on_drain, .on_close = on_close};

    if (kage_line_new(guest->loop, fd, KAGE_FRAME_HEADER + KAGE_FRAME_MAX, &handler, NULL,
                      &guest->line, err) < 0)
        return -1;
    client_new(guest, kage_line_conn(guest->line))->on_line = true;
    return 0;
}

void kage_server_done(struct kage_guest *guest)
{
    kage_line_free(guest->line);
    guest->line = NULL;
    while (guest->clients)
        client_free(guest->clients);
}

/* A page in a browser can open a WebSocket to any port and always says where it comes from; no
 * client of ours does. */
static bool authorize(const char *bearer, const char *origin, void *user)
{
    const struct kage_guest *guest = user;

    return !origin && kage_token_matches(guest->token_fd, bearer);
}

int kage_server_listen(struct kage_guest *guest, struct kage_ws *ws, const char *address,
                       uint16_t port, uint16_t *ret_port, struct kage_error *err)
{
    static const struct kage_ws_handler handler = {
        .conn = {.on_open = on_open,
                 .on_message = on_message,
                 .on_drain = on_drain,
                 .on_close = on_close},
        .authorize = authorize,
    };

    return kage_ws_listen(ws, address, port, KAGE_FRAME_HEADER + KAGE_FRAME_MAX, &handler, guest,
                          ret_port, err);
}
