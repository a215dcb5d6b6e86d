#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/loop/line.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"
#include "common/proto/frame.h"

/* A server that echoes and a client, both on one loop. */
struct echo {
    struct kage_loop *loop;
    struct kage_conn *client;
    size_t messages, bytes, drains;
    bool opened, closed;
    char reason[200];
};

static void server_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
    kage_conn_send(conn, data, len, NULL, 0);
}

static bool server_authorize(const char *bearer, const char *origin, void *user)
{
    return bearer && !strcmp(bearer, "secret") && !origin;
}

static void client_open(struct kage_conn *conn, void *user)
{
    struct echo *e = user;

    e->opened = true;
    kage_conn_send(conn, "he", 2, "llo", 3);
}

static void client_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
    struct echo *e = user;

    e->bytes += len;
    if (e->messages++ == 0) {
        char *big = kage_alloc(1 << 20);

        assert_int_equal(len, 5);
        assert_memory_equal(data, "hello", 5);
        kage_conn_send(conn, big, 1 << 20, NULL, 0);
        free(big);
        return;
    }
    assert_int_equal(len, 1 << 20);
    kage_conn_close(conn);
}

static void client_drain(struct kage_conn *conn, void *user)
{
    ((struct echo *)user)->drains++;
}

static void client_close(struct kage_conn *conn, const char *reason, void *user)
{
    struct echo *e = user;

    e->closed = true;
    strncpy(e->reason, reason, sizeof e->reason - 1);
    kage_loop_quit(e->loop);
}

static const struct kage_ws_handler server = {.conn = {.on_message = server_message},
                                              .authorize = server_authorize};
static const struct kage_conn_handler client = {.on_open = client_open,
                                                .on_message = client_message,
                                                .on_drain = client_drain,
                                                .on_close = client_close};

static void run_echo(struct echo *e, const char *bearer)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_ws *ws;
    uint16_t port;

    assert_int_equal(kage_loop_new(&e->loop, &err), 0);
    assert_int_equal(kage_ws_new(e->loop, &ws, &err), 0);
    assert_int_equal(kage_ws_listen(ws, "127.0.0.1", 0, 2 << 20, &server, NULL, &port, &err), 0);
    assert_int_not_equal(port, 0);
    assert_int_equal(
        kage_ws_connect(ws, "127.0.0.1", port, bearer, 2 << 20, &client, e, &e->client, &err), 0);
    if (!e->closed)
        assert_int_equal(kage_loop_run(e->loop, &err), 0);
    kage_ws_free(ws);
    kage_loop_free(e->loop);
}

static void messages_arrive_whole(void **state)
{
    struct echo e = {0};

    run_echo(&e, "secret");
    assert_true(e.opened);
    assert_true(e.closed);
    assert_int_equal(e.messages, 2);
    assert_int_equal(e.bytes, 5 + (1 << 20));
    assert_int_equal(e.drains, 1);
}

static void a_wrong_token_does_not_open(void **state)
{
    struct echo e = {0};

    run_echo(&e, "wrong");
    assert_false(e.opened);
    assert_true(e.closed);
}

/* ---- a line ---- */

struct ends {
    struct kage_loop *loop;
    struct kage_line *line[2];
    size_t frames, bytes, drains, wanted;
    char reason[100];
    bool pause_once;
    struct kage_timer *again;
};

static void send_frame(struct kage_line *line, size_t len)
{
    uint8_t head[KAGE_FRAME_HEADER];
    char *body = kage_alloc(len + 1);

    memset(body, (int)len, len);
    kage_frame_header(head, KAGE_MSG_STDOUT_RAW, (uint32_t)len);
    kage_conn_send(kage_line_conn(line), head, sizeof head, body, len);
    free(body);
}

static void line_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
    struct ends *e = user;

    e->frames++;
    e->bytes += len;
    if (len > KAGE_FRAME_HEADER)
        assert_int_equal(data[len - 1], (uint8_t)(len - KAGE_FRAME_HEADER));
    if (e->bytes == e->wanted)
        kage_loop_quit(e->loop);
    if (e->pause_once) {
        e->pause_once = false;
        kage_conn_pause(conn, true);
        kage_timer_set(e->again, 5);
    }
}

static void line_drain(struct kage_conn *conn, void *user)
{
    ((struct ends *)user)->drains++;
}

static void line_close(struct kage_conn *conn, const char *reason, void *user)
{
    struct ends *e = user;

    strncpy(e->reason, reason, sizeof e->reason - 1);
    kage_loop_quit(e->loop);
}

static const struct kage_conn_handler receiver = {
    .on_message = line_message, .on_drain = line_drain, .on_close = line_close};

static void unpause(void *user)
{
    struct ends *e = user;

    assert_int_equal(e->frames, 1);
    kage_conn_pause(kage_line_conn(e->line[1]), false);
}

static void ends_new(struct ends *e)
{
    struct kage_error err = KAGE_ERROR_INIT;
    int pair[2];

    assert_int_equal(kage_loop_new(&e->loop, &err), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(kage_line_new(e->loop, pair[i], 1 << 20, &receiver, e, &e->line[i], &err),
                         0);
    assert_int_equal(kage_timer_new(e->loop, unpause, e, &e->again, &err), 0);
}

static void ends_done(struct ends *e)
{
    kage_timer_free(e->again);
    kage_line_free(e->line[0]);
    kage_line_free(e->line[1]);
    kage_loop_free(e->loop);
}

/* More than a socket takes at once, of every size around the buffers' own; then the end. */
static void frames_of_a_line_arrive_whole(void **state)
{
    static const size_t sizes[] = {0, 1, 4090, 4091, 4092, 65536, 262139, 262144, 1000000};
    struct kage_error err = KAGE_ERROR_INIT;
    struct ends e = {0};
    size_t sum = 0;

    ends_new(&e);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        send_frame(e.line[0], sizes[i]);
        sum += sizes[i] + KAGE_FRAME_HEADER;
    }
    assert_int_equal(kage_conn_queued(kage_line_conn(e.line[0])), sum);
    e.wanted = sum;
    assert_int_equal(kage_loop_run(e.loop, &err), 0);
    assert_int_equal(e.frames, sizeof sizes / sizeof *sizes);
    assert_int_equal(e.bytes, sum);
    assert_int_equal(kage_conn_queued(kage_line_conn(e.line[0])), 0);
    assert_int_equal(e.drains, 1);
    ends_done(&e);
}

/* What lies in the buffer when a reader stops waits there until it goes on. */
static void a_paused_line_keeps_its_frames(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct ends e = {.pause_once = true, .wanted = 3 * (KAGE_FRAME_HEADER + 3)};

    ends_new(&e);
    for (int i = 0; i < 3; i++)
        send_frame(e.line[0], 3);
    assert_int_equal(kage_loop_run(e.loop, &err), 0);
    assert_int_equal(e.frames, 3);
    assert_string_equal(e.reason, "");
    ends_done(&e);
}

static void a_frame_that_is_too_long_ends_a_line(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct ends e = {0};

    ends_new(&e);
    send_frame(e.line[0], 10);
    send_frame(e.line[0], 1 << 20);
    assert_int_equal(kage_loop_run(e.loop, &err), 0);
    assert_int_equal(e.frames, 2);
    assert_int_equal(e.bytes, 10 + 2 * KAGE_FRAME_HEADER); /* of the second the header alone */
    assert_non_null(strstr(e.reason, "too long"));
    ends_done(&e);
}

static void the_end_of_a_line_is_told(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct ends e = {0};

    ends_new(&e);
    send_frame(e.line[0], 10);
    kage_conn_close(kage_line_conn(e.line[0])); /* what is queued goes out first */
    e.reason[0] = '\0';
    kage_line_free(KAGE_TAKE(e.line[0]));
    assert_int_equal(kage_loop_run(e.loop, &err), 0);
    assert_int_equal(e.frames, 1);
    assert_string_equal(e.reason, "the connection was closed");
    ends_done(&e);
}

/* ---- the loop alone ---- */

struct order {
    struct kage_loop *loop;
    struct kage_later first, second, never;
    char seen[8];
};

static void do_first(void *user)
{
    struct order *o = user;

    strcat(o->seen, "1");
    if (strlen(o->seen) < 3)
        kage_loop_later(o->loop, &o->first);
}

static void do_second(void *user)
{
    struct order *o = user;

    strcat(o->seen, "2");
    if (strlen(o->seen) > 3)
        kage_loop_quit(o->loop);
    kage_loop_later(o->loop, &o->second);
}

static void do_never(void *user)
{
    fail_msg("it was taken back");
}

static void what_is_due_is_done_in_order_and_once(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct order o = {0};

    o.first = (struct kage_later){.fn = do_first, .user = &o};
    o.second = (struct kage_later){.fn = do_second, .user = &o};
    o.never = (struct kage_later){.fn = do_never, .user = &o};
    assert_int_equal(kage_loop_new(&o.loop, &err), 0);
    kage_loop_later(o.loop, &o.first);
    kage_loop_later(o.loop, &o.first);
    kage_loop_later(o.loop, &o.never);
    kage_loop_not_later(o.loop, &o.never);
    kage_loop_later(o.loop, &o.second);
    kage_loop_not_later(o.loop, &o.never);
    assert_int_equal(kage_loop_run(o.loop, &err), 0);
    assert_string_equal(o.seen, "1212");
    kage_loop_not_later(o.loop, &o.second);
    kage_loop_free(o.loop);
}

struct pair {
    struct kage_loop *loop;
    struct kage_watch *a, *b;
    int calls;
};

static void free_both(uint32_t events, void *user)
{
    struct pair *p = user;

    p->calls++;
    kage_watch_free(p->a);
    kage_watch_free(p->b);
    kage_loop_quit(p->loop);
}

static void a_watch_may_free_another_in_the_same_batch(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct pair p = {0};
    int one[2], two[2];

    assert_int_equal(pipe(one), 0);
    assert_int_equal(pipe(two), 0);
    assert_int_equal(write(one[1], "x", 1), 1);
    assert_int_equal(write(two[1], "x", 1), 1);
    assert_int_equal(kage_loop_new(&p.loop, &err), 0);
    assert_int_equal(kage_watch_new(p.loop, one[0], EPOLLIN, free_both, &p, &p.a, &err), 0);
    assert_int_equal(kage_watch_new(p.loop, two[0], EPOLLIN, free_both, &p, &p.b, &err), 0);
    assert_int_equal(kage_loop_run(p.loop, &err), 0);
    assert_int_equal(p.calls, 1);
    kage_loop_free(p.loop);
    for (int i = 0; i < 2; i++) {
        close(one[i]);
        close(two[i]);
    }
}

struct ticks {
    struct kage_loop *loop;
    struct kage_timer *fast, *slow;
    char order[8];
};

static void on_fast(void *user)
{
    struct ticks *t = user;

    strcat(t->order, "f");
    if (strlen(t->order) < 3)
        kage_timer_set(t->fast, 1);
}

static void on_slow(void *user)
{
    struct ticks *t = user;

    strcat(t->order, "s");
    kage_timer_free(t->slow);
    kage_loop_quit(t->loop);
}

static void timers_fire_in_order_and_once(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct ticks t = {0};

    assert_int_equal(kage_loop_new(&t.loop, &err), 0);
    kage_timer_new(t.loop, on_fast, &t, &t.fast, &err);
    kage_timer_new(t.loop, on_slow, &t, &t.slow, &err);
    kage_timer_set(t.fast, 1);
    kage_timer_set(t.slow, 100);
    assert_int_equal(kage_loop_run(t.loop, &err), 0);
    assert_string_equal(t.order, "fffs");
    kage_timer_free(t.fast);
    kage_loop_free(t.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_whole),
        cmocka_unit_test(a_wrong_token_does_not_open),
        cmocka_unit_test(frames_of_a_line_arrive_whole),
        cmocka_unit_test(a_paused_line_keeps_its_frames),
        cmocka_unit_test(a_frame_that_is_too_long_ends_a_line),
        cmocka_unit_test(the_end_of_a_line_is_told),
        cmocka_unit_test(what_is_due_is_done_in_order_and_once),
        cmocka_unit_test(a_watch_may_free_another_in_the_same_batch),
        cmocka_unit_test(timers_fire_in_order_and_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
