#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/loop/line.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"
#include "runner/session/client.h"

/* A guest under an attacker's control: it answers hello and ping, then sends the bytes of a case.
 */
struct guest {
    struct kage_loop *loop;
    const uint8_t *evil;
    size_t evil_len;
    struct kage_client *client;
    bool spawned;
    size_t output;
    int exits;
    unsigned unanswered; /* pings, at the end */
    enum kage_class lost_class;
    char lost[300];
};

static void reply(struct kage_conn *conn, enum kage_msg_type type, const char *json)
{
    uint8_t head[KAGE_FRAME_HEADER];

    kage_frame_header(head, type, (uint32_t)strlen(json));
    kage_conn_send(conn, head, sizeof head, json, strlen(json));
}

static void guest_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
    struct guest *g = user;

    switch (data[0]) {
    case KAGE_MSG_HELLO:
        reply(
            conn, KAGE_MSG_HELLO_OK,
            "{\"version\":1,\"features\":[\"raw\"],\"frame_max\":16777216,\"stdin_window\":65536}");
        break;
    case KAGE_MSG_PING:
        reply(conn, KAGE_MSG_PONG, "{}");
        break;
    case KAGE_MSG_SPAWN:
        reply(conn, KAGE_MSG_SPAWNED, "{\"id\":1,\"pid\":7,\"handle\":\"p1\"}");
        kage_conn_send(conn, g->evil, g->evil_len, NULL, 0);
        break;
    default:
        break;
    }
}

static const struct kage_ws_handler guest_handler = {.conn = {.on_message = guest_message}};

static void on_spawned(const struct kage_msg *msg, void *user)
{
    struct guest *g = user;

    assert_int_equal(msg->type, KAGE_MSG_SPAWNED);
    g->spawned = true;
    kage_client_expect(g->client, 1);
}

static void on_ready(const struct kage_msg *hello_ok, void *user)
{
    struct guest *g = user;

    kage_client_request(g->client, KAGE_MSG_SPAWN, "{\"id\":1,\"command\":\"x\"}", on_spawned, g);
}

static void on_output(uint32_t id, bool is_stderr, const uint8_t *data, size_t len, void *user)
{
    ((struct guest *)user)->output += len;
}

static void on_exit_msg(uint32_t id, const struct kage_msg *exit, void *user)
{
    struct guest *g = user;

    g->exits++;
}

static void on_lost(enum kage_class class, const char *why, void *user)
{
    struct guest *g = user;

    g->lost_class = class;
    strncpy(g->lost, why, sizeof g->lost - 1);
    kage_loop_quit(g->loop);
}

static void give_up(void *user)
{
    kage_loop_quit(user);
}

static const struct kage_client_handler client_handler = {
    .on_ready = on_ready, .on_output = on_output, .on_exit = on_exit_msg, .on_lost = on_lost};

static void meet(struct guest *g)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_timer *limit;

    assert_int_equal(kage_timer_new(g->loop, give_up, g->loop, &limit, &err), 0);
    kage_timer_set(limit, 300);
    assert_int_equal(kage_loop_run(g->loop, &err), 0);
    kage_timer_free(limit);
    g->unanswered = kage_client_unanswered(g->client);
    kage_client_free(g->client);
    assert_true(g->spawned);
}

static struct guest attack_by_websocket(const void *bytes, size_t len)
{
    struct guest g = {.evil = bytes, .evil_len = len};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_ws *ws;
    uint16_t port;

    assert_int_equal(kage_loop_new(&g.loop, &err), 0);
    assert_int_equal(kage_ws_new(g.loop, &ws, &err), 0);
    assert_int_equal(kage_ws_listen(ws, "127.0.0.1", 0, 1 << 20, &guest_handler, &g, &port, &err),
                     0);
    assert_int_equal(
        kage_client_connect(g.loop, ws, port, "t", &client_handler, &g, &g.client, &err), 0);
    meet(&g);
    kage_ws_free(ws);
    kage_loop_free(g.loop);
    return g;
}

/* The client as the host's end of a line whose other end is the guest, until it is lost or time is
 * over. */
static void meet_on_line(struct guest *g, const struct kage_client_handler *handler)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_line *host, *guest;
    int pair[2];

    assert_int_equal(kage_loop_new(&g->loop, &err), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(kage_line_new(g->loop, pair[0], 1 << 20, &guest_handler.conn, g, &guest, &err),
                     0);
    assert_int_equal(kage_line_new(g->loop, pair[1], KAGE_FRAME_HEADER + KAGE_FRAME_MAX,
                                   &guest_handler.conn, g, &host, &err),
                     0);
    assert_int_equal(
        kage_client_on_line(g->loop, kage_line_conn(host), 0, handler, g, &g->client, &err), 0);
    meet(g);
    kage_line_free(host);
    kage_line_free(guest);
    kage_loop_free(g->loop);
}

static struct guest attack_by_line(const void *bytes, size_t len)
{
    struct guest g = {.evil = bytes, .evil_len = len};
    meet_on_line(&g, &client_handler);
    return g;
}

static void broken_frames_end_the_connection(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *says;
        bool by_message; /* on a line a frame ends where it says, and nothing else can be wrong */
    } cases[] = {
        {"\x84", 1, "header", true},
        {"\x84\xff\xff\xff\xff{}", 7, "longer than 16 MiB", false},
        {"\x84\x03\0\0\0{}", 7, "length", true},
        {"\x84\x01\0\0\0{}", 7, "length", true},
        {"\x7f\x02\0\0\0{}", 7, "unknown message type", false},
        {"\x01\x0f\0\0\0{\"command\":\"x\"}", 20, "wrong direction", false},
        {"\x84\x02\0\0\0[]", 7, "JSON", false},
        {"\x84\x11\0\0\0{\"id\":2,\"code\":0}", 22, "does not run", false},
        {"\x84\x13\0\0\0{\"id\":1,\"code\":256}", 24, "code", false},
        {"\x86\x02\0\0\0{}", 7, "nobody asked", false},
        {"\x91\x03\0\0\0\1\0\0", 8, "without a process", false},
        {"\x91\x05\0\0\0\2\0\0\0x", 10, "does not run", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int line = 0; line <= !cases[i].by_message; line++) {
            struct guest g =
                (line ? attack_by_line : attack_by_websocket)(cases[i].bytes, cases[i].len);

            if (g.lost_class != KAGE_CLASS_INTERNAL || !strstr(g.lost, cases[i].says))
                fail_msg("case %zu: class %s, '%s'", i, kage_class_name(g.lost_class), g.lost);
            assert_int_equal(g.exits, 0);
        }
    }
}

static void proper_output_and_exit_pass(void **state)
{
    struct guest (*const ways[])(const void *bytes, size_t len) = {attack_by_websocket,
                                                                   attack_by_line};

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct guest g = ways[i]("\x91\x06\0\0\0\1\0\0\0ab", 11);

        assert_int_equal(g.output, 2);
        assert_int_equal(g.lost_class, KAGE_CLASS_NONE);
        g = ways[i]("\x84\x11\0\0\0{\"id\":1,\"code\":0}", 22);
        assert_int_equal(g.exits, 1);
    }
}

/* What ended while it led to nobody is lost for whoever comes next, at once. */
static void a_line_that_has_ended_is_told(void **state)
{
    struct guest g = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_line *host;
    struct kage_timer *limit;
    int pair[2];

    assert_int_equal(kage_loop_new(&g.loop, &err), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(kage_line_new(g.loop, pair[0], 1 << 20, &guest_handler.conn, &g, &host, &err),
                     0);
    close(pair[1]);
    assert_int_equal(kage_timer_new(g.loop, give_up, g.loop, &limit, &err), 0);
    kage_timer_set(limit, 20);
    assert_int_equal(kage_loop_run(g.loop, &err), 0);
    assert_int_equal(
        kage_client_on_line(g.loop, kage_line_conn(host), 0, &client_handler, &g, &g.client, &err),
        0);
    kage_timer_set(limit, 2000);
    assert_int_equal(kage_loop_run(g.loop, &err), 0);
    assert_int_equal(g.lost_class, KAGE_CLASS_AGENT_LOST);
    assert_non_null(strstr(g.lost, "closed"));
    kage_timer_free(limit);
    kage_client_free(g.client);
    kage_line_free(host);
    kage_loop_free(g.loop);
}

static void ping_twice(const struct kage_msg *hello_ok, void *user)
{
    struct guest *g = user;

    kage_client_ping(g->client);
    kage_client_ping(g->client);
    assert_int_equal(kage_client_unanswered(g->client), 2);
    g->spawned = true;
}

/* An answer counts however soon it comes: one within the millisecond of its ping did not. */
static void answered_pings_do_not_count(void **state)
{
    static const struct kage_client_handler handler = {.on_ready = ping_twice, .on_lost = on_lost};
    struct guest g = {0};

    meet_on_line(&g, &handler);
    assert_int_equal(g.lost_class, KAGE_CLASS_NONE);
    assert_int_equal(g.unanswered, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_frames_end_the_connection),
        cmocka_unit_test(proper_output_and_exit_pass),
        cmocka_unit_test(a_line_that_has_ended_is_told),
        cmocka_unit_test(answered_pings_do_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
