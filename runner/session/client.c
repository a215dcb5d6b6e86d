#include "runner/session/client.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"

/* Bytes a restored guest gets to draw its random numbers from; twice what the kernel's generator
 * is keyed with. */
#define RESUME_ENTROPY 64

struct request {
    struct request *next;
    enum kage_msg_type type;
    kage_client_fn fn;
    void *user;
};

struct kage_client {
    struct kage_conn *conn; /* NULL once it is gone */
    const struct kage_client_handler *handler;
    void *user;
    struct request *first, **last;
    uint32_t *expected; /* ids of running processes */
    size_t n_expected, cap_expected;
    uint32_t *fed; /* ids that were sent standard input */
    size_t n_fed, cap_fed;
    struct kage_msg hello_ok;
    struct kage_timer *defer_loss;
    enum kage_class lost_class;
    char *lost_why;
    uint64_t last_heard;
    unsigned unanswered; /* pings since then */
    bool paused;
    bool on_line; /* the connection is the caller's */
    unsigned flags;
    int64_t ahead_us; /* how far the host's clock is ahead of the guest's */
    bool have_ahead;
};

/* ---- the end ---- */

static void ignore_close(struct kage_conn *conn, const char *reason, void *user)
{
}

static void ignore_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
}

/* Whatever still comes is for nobody; a line goes on for the next client. */
static void detach(struct kage_client *c)
{
    static const struct kage_conn_handler nobody = {.on_message = ignore_message,
                                                    .on_close = ignore_close};
    struct kage_conn *conn = c->conn;

    if (!conn)
        return;
    c->conn = NULL;
    kage_conn_set_handler(conn, &nobody, NULL);
    if (!c->on_line)
        kage_conn_close(conn);
    else if (c->paused)
        kage_conn_pause(conn, false);
}

/* Callers are in the middle of something; they hear of the loss from the loop. */
static void lose(struct kage_client *c, enum kage_class class, char *why)
{
    if (c->lost_why) {
        free(why);
        return;
    }
    c->lost_class = class;
    c->lost_why = why;
    detach(c);
    kage_timer_set(c->defer_loss, 1);
}

static void on_deferred_loss(void *user)
{
    struct kage_client *c = user;

    c->handler->on_lost(c->lost_class, c->lost_why, c->user);
}

static void broke_protocol(struct kage_client *c, int type, const char *what)
{
    const char *name = kage_msg_name(type);

    lose(c, KAGE_CLASS_INTERNAL,
         kage_asprintf("the guest broke the protocol: %s (%s)", what, name ? name : "unknown"));
}

/* ---- sending ---- */

static void send_frame(struct kage_client *c, enum kage_msg_type type, const void *payload,
                       size_t len)
{
    uint8_t head[KAGE_FRAME_HEADER];

    if (!c->conn)
        return;
    kage_frame_header(head, type, (uint32_t)len);
    kage_conn_send(c->conn, head, sizeof head, payload, len);
}

void kage_client_request(struct kage_client *c, enum kage_msg_type type, const char *payload,
                         kage_client_fn fn, void *user)
{
    struct request *r = kage_alloc(sizeof *r);

    *r = (struct request){.type = type, .fn = fn, .user = user};
    *c->last = r;
    c->last = &r->next;
    send_frame(c, type, payload, strlen(payload));
}

void kage_client_request_msg(struct kage_client *c, const struct kage_msg *msg, kage_client_fn fn,
                             void *user)
{
    struct kage_buf payload = {0};

    kage_msg_encode(msg, &payload);
    kage_client_request(c, (enum kage_msg_type)msg->type, payload.data, fn, user);
    kage_buf_done(&payload);
}

static bool was_fed(const struct kage_client *c, int64_t id)
{
    for (size_t i = 0; i < c->n_fed; i++)
        if (c->fed[i] == id)
            return true;
    return false;
}

void kage_client_stdin(struct kage_client *c, uint32_t id, const void *data, size_t len)
{
    uint8_t head[KAGE_FRAME_HEADER + 4];

    if (!c->conn)
        return;
    if (!was_fed(c, id)) {
        c->fed = kage_array_grow(c->fed, &c->cap_fed, c->n_fed + 1, sizeof *c->fed);
        c->fed[c->n_fed++] = id;
    }
    kage_frame_header(head, KAGE_MSG_STDIN_RAW, (uint32_t)len + 4);
    for (int i = 0; i < 4; i++)
        head[KAGE_FRAME_HEADER + i] = (uint8_t)(id >> (8 * i));
    kage_conn_send(c->conn, head, sizeof head, data, len);
}

static void heard(struct kage_client *c)
{
    c->last_heard = kage_now_ms();
    c->unanswered = 0;
}

void kage_client_ping(struct kage_client *c)
{
    c->unanswered++;
    kage_client_request(c, KAGE_MSG_PING, "{}", NULL, NULL);
}

static void on_resumed(const struct kage_msg *reply, void *user)
{
    struct kage_client *c = user;

    if (reply->type == KAGE_MSG_ERROR)
        lose(c, KAGE_CLASS_INTERNAL,
             kage_asprintf("the restored guest cannot go on: %s", reply->error.message));
}

static void send_resume(struct kage_client *c)
{
    unsigned char random[RESUME_ENTROPY];
    struct timespec now;
    struct kage_msg msg;

    clock_gettime(CLOCK_REALTIME, &now);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        lose(c, KAGE_CLASS_HOST, kage_strdup("cannot get random bytes for the guest"));
        return;
    }
    kage_msg_init(&msg, KAGE_MSG_RESUME);
    msg.resume.time_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    msg.resume.entropy = (char *)random;
    msg.resume.entropy_len = sizeof random;
    kage_client_request_msg(c, &msg, on_resumed, c);
    explicit_bzero(random, sizeof random);
}

uint64_t kage_client_host_us(const struct kage_client *client, int64_t guest_us)
{
    return (uint64_t)(guest_us + client->ahead_us);
}

static void say_hello(struct kage_client *c)
{
    struct kage_msg hello;
    char *features[] = {(char *)"raw", (char *)"times"};

    kage_msg_init(&hello, KAGE_MSG_HELLO);
    hello.hello.version = KAGE_PROTOCOL_VERSION;
    hello.hello.features =
        (struct kage_str_list){.items = features, .n = c->flags & KAGE_CLIENT_TIMES ? 2 : 1};
    kage_client_request_msg(c, &hello, NULL, NULL);
    if (c->flags & KAGE_CLIENT_RESUME)
        send_resume(c);
    kage_client_ping(c);
}

/* ---- receiving ---- */

/* How far the clocks are apart cannot be more than what a message that was just sent says; one that
 * waited for others before it left says too much. */
static void note_moment(struct kage_client *c, int64_t guest_us)
{
    int64_t ahead;

    if (guest_us == KAGE_UNSET)
        return;
    ahead = (int64_t)kage_now_us() - guest_us;
    if (!c->have_ahead || ahead < c->ahead_us) {
        c->ahead_us = ahead;
        c->have_ahead = true;
    }
}

static ssize_t find_expected(const struct kage_client *c, uint32_t id)
{
    for (size_t i = 0; i < c->n_expected; i++)
        if (c->expected[i] == id)
            return (ssize_t)i;
    return -1;
}

void kage_client_expect(struct kage_client *c, uint32_t id)
{
    c->expected =
        kage_array_grow(c->expected, &c->cap_expected, c->n_expected + 1, sizeof *c->expected);
    c->expected[c->n_expected++] = id;
}

static bool reply_fits(enum kage_msg_type request, int reply)
{
    switch (request) {
    case KAGE_MSG_SPAWN:
        return reply == KAGE_MSG_SPAWNED;
    case KAGE_MSG_FS_READ:
    case KAGE_MSG_LOAD_STATE:
        return reply == KAGE_MSG_DATA;
    case KAGE_MSG_IS_RUNNING:
        return reply == KAGE_MSG_RUNNING_STATUS;
    case KAGE_MSG_HELLO:
        return reply == KAGE_MSG_HELLO_OK;
    case KAGE_MSG_PING:
        return reply == KAGE_MSG_PONG;
    default:
        return reply == KAGE_MSG_OK;
    }
}

static void on_reply(struct kage_client *c, struct kage_msg *msg)
{
    struct request *r = c->first;

    /* Raw input is answered only when it came too late: the process had ended, or closed its end.
     * Nothing else that is sent while it runs carries its id. */
    if (msg->type == KAGE_MSG_ERROR && msg->id != KAGE_UNSET && was_fed(c, msg->id))
        return;
    if (!r || (msg->type != KAGE_MSG_ERROR && !reply_fits(r->type, msg->type))) {
        broke_protocol(c, msg->type, "a reply that nobody asked for");
        return;
    }
    c->first = r->next;
    if (!c->first)
        c->last = &c->first;
    if (r->type == KAGE_MSG_HELLO && msg->type == KAGE_MSG_ERROR)
        lose(c, KAGE_CLASS_INTERNAL, kage_asprintf("vmd refused hello: %s", msg->error.message));
    if (r->type == KAGE_MSG_HELLO && msg->type == KAGE_MSG_HELLO_OK) {
        kage_msg_done(&c->hello_ok);
        c->hello_ok = *msg;
        note_moment(c, msg->hello_ok.now_us);
        kage_msg_init(msg, KAGE_MSG_OK); /* its contents moved */
    } else if (r->type == KAGE_MSG_PING && c->hello_ok.type) {
        struct kage_msg hello_ok = c->hello_ok;

        c->hello_ok = (struct kage_msg){0};
        c->handler->on_ready(&hello_ok, c->user);
        kage_msg_done(&hello_ok);
    }
    if (r->fn)
        r->fn(msg, r->user);
    free(r);
}

static void on_exit_msg(struct kage_client *c, const struct kage_msg *msg)
{
    ssize_t at = msg->id == KAGE_UNSET ? -1 : find_expected(c, (uint32_t)msg->id);

    if (at < 0) {
        broke_protocol(c, msg->type, "the exit of a process that does not run");
        return;
    }
    c->expected[at] = c->expected[--c->n_expected];
    c->handler->on_exit((uint32_t)msg->id, msg, c->user);
}

static void on_json(struct kage_client *c, int type, const uint8_t *payload, size_t len)
{
    KAGE_CLEANUP(kage_freep) char *why = NULL;
    struct kage_msg msg;

    if (kage_msg_decode(&msg, (enum kage_msg_type)type, payload, len, &why)) {
        broke_protocol(c, type, why);
        return;
    }
    switch (type) {
    case KAGE_MSG_EXIT:
        note_moment(c, msg.exit.ended_us);
        on_exit_msg(c, &msg);
        break;
    case KAGE_MSG_STDIN_WINDOW:
        if (c->handler->on_window)
            c->handler->on_window(msg.stdin_window.handle, (uint64_t)msg.stdin_window.bytes,
                                  c->user);
        break;
    case KAGE_MSG_SPAWNED:
        note_moment(c, msg.spawned.started_us);
        on_reply(c, &msg);
        break;
    case KAGE_MSG_ERROR:
    case KAGE_MSG_OK:
    case KAGE_MSG_DATA:
    case KAGE_MSG_RUNNING_STATUS:
    case KAGE_MSG_HELLO_OK:
    case KAGE_MSG_PONG:
        on_reply(c, &msg);
        break;
    case KAGE_MSG_NETWORK_STATUS:
        break; /* news, not an answer */
    default:
        broke_protocol(c, type, "a message of the wrong direction");
        break;
    }
    kage_msg_done(&msg);
}

static void on_raw(struct kage_client *c, int type, const uint8_t *payload, size_t len)
{
    uint32_t id = 0;

    if (len < 4) {
        broke_protocol(c, type, "output without a process");
        return;
    }
    for (int i = 0; i < 4; i++)
        id |= (uint32_t)payload[i] << (8 * i);
    if (find_expected(c, id) < 0) {
        broke_protocol(c, type, "output of a process that does not run");
        return;
    }
    c->handler->on_output(id, type == KAGE_MSG_STDERR_RAW, payload + 4, len - 4, c->user);
}

static void on_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
    struct kage_client *c = user;
    const uint8_t *payload;
    const char *why;
    size_t payload_len;
    int type;

    heard(c);
    if (c->lost_why)
        return;
    if (kage_frame_parse(data, len, &type, &payload, &payload_len, &why))
        broke_protocol(c, type, why);
    else if (type == KAGE_MSG_STDOUT_RAW || type == KAGE_MSG_STDERR_RAW)
        on_raw(c, type, payload, payload_len);
    else
        on_json(c, type, payload, payload_len);
}

static void on_open(struct kage_conn *conn, void *user)
{
    struct kage_client *c = user;

    c->conn = conn;
    heard(c);
    say_hello(c);
}

static void on_close(struct kage_conn *conn, const char *reason, void *user)
{
    struct kage_client *c = user;

    c->conn = NULL;
    lose(c, KAGE_CLASS_AGENT_LOST, kage_printable(reason, strlen(reason)));
}

static const struct kage_conn_handler conn_handler = {
    .on_open = on_open, .on_message = on_message, .on_close = on_close};

/* ---- life ---- */

static int client_new(struct kage_loop *loop, unsigned flags,
                      const struct kage_client_handler *handler, void *user,
                      struct kage_client **ret, struct kage_error *err)
{
    struct kage_client *c = kage_alloc(sizeof *c);

    *c = (struct kage_client){.handler = handler, .user = user, .flags = flags};
    c->last = &c->first;
    heard(c);
    if (kage_timer_new(loop, on_deferred_loss, c, &c->defer_loss, err) < 0) {
        kage_client_free(c);
        return -1;
    }
    *ret = c;
    return 0;
}

int kage_client_on_line(struct kage_loop *loop, struct kage_conn *line, unsigned flags,
                        const struct kage_client_handler *handler, void *user,
                        struct kage_client **ret, struct kage_error *err)
{
    if (client_new(loop, flags, handler, user, ret, err) < 0)
        return -1;
    (*ret)->on_line = true;
    (*ret)->conn = line;
    kage_conn_set_handler(line, &conn_handler, *ret);
    /* It may have ended while nobody was there to hear of it. */
    if (kage_conn_is_closed(line))
        lose(*ret, KAGE_CLASS_AGENT_LOST, kage_strdup("the connection was closed"));
    else
        say_hello(*ret);
    return 0;
}

int kage_client_connect(struct kage_loop *loop, struct kage_ws *ws, uint16_t port,
                        const char *token, const struct kage_client_handler *handler, void *user,
                        struct kage_client **ret, struct kage_error *err)
{
    struct kage_client *c;
    struct kage_conn *conn = NULL;

    if (client_new(loop, 0, handler, user, &c, err) < 0)
        return -1;
    if (kage_ws_connect(ws, "127.0.0.1", port, token, KAGE_FRAME_MAX + KAGE_FRAME_HEADER,
                        &conn_handler, c, &conn, err) < 0) {
        kage_client_free(c);
        return -1;
    }
    c->conn = conn;
    *ret = c;
    return 0;
}

void kage_client_free(struct kage_client *c)
{
    if (!c)
        return;
    detach(c);
    while (c->first) {
        struct request *r = c->first;

        c->first = r->next;
        free(r);
    }
    kage_timer_free(c->defer_loss);
    kage_msg_done(&c->hello_ok);
    free(c->expected);
    free(c->fed);
    free(c->lost_why);
    free(c);
}

void kage_client_pause(struct kage_client *c, bool paused)
{
    if (c->paused == paused)
        return;
    c->paused = paused;
    heard(c);
    if (c->conn)
        kage_conn_pause(c->conn, paused);
}

uint64_t kage_client_last_heard(const struct kage_client *c)
{
    return c->paused ? kage_now_ms() : c->last_heard;
}

unsigned kage_client_unanswered(const struct kage_client *c)
{
    return c->paused ? 0 : c->unanswered;
}
