#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"

/* A server that echoes and a client, both on one loop. */
struct echo {
    struct kage_loop *loop;
    struct kage_ws_conn *client;
    size_t messages, bytes, drains;
    bool opened, closed;
    char reason[200];
};

static void server_message(struct kage_ws_conn *conn, const uint8_t *data, size_t len, void *user)
{
    kage_ws_send(conn, data, len, NULL, 0);
}

static bool server_authorize(const char *bearer, const char *origin, void *user)
{
    return bearer && !strcmp(bearer, "secret") && !origin;
}

static void client_open(struct kage_ws_conn *conn, void *user)
{
    struct echo *e = user;

    e->opened = true;
    kage_ws_send(conn, "he", 2, "llo", 3);
}

static void client_message(struct kage_ws_conn *conn, const uint8_t *data, size_t len, void *user)
{
    struct echo *e = user;

    e->bytes += len;
    if (e->messages++ == 0) {
        char *big = kage_alloc(1 << 20);

        assert_int_equal(len, 5);
        assert_memory_equal(data, "hello", 5);
        kage_ws_send(conn, big, 1 << 20, NULL, 0);
        free(big);
        return;
    }
    assert_int_equal(len, 1 << 20);
    kage_ws_close(conn);
}

static void client_drain(struct kage_ws_conn *conn, void *user)
{
    ((struct echo *)user)->drains++;
}

static void client_close(struct kage_ws_conn *conn, const char *reason, void *user)
{
    struct echo *e = user;

    e->closed = true;
    strncpy(e->reason, reason, sizeof e->reason - 1);
    kage_loop_quit(e->loop);
}

static const struct kage_ws_handler server = {.on_message = server_message,
                                              .authorize = server_authorize};
static const struct kage_ws_handler client = {.on_open = client_open,
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

/* ---- the loop alone ---- */

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
        cmocka_unit_test(a_watch_may_free_another_in_the_same_batch),
        cmocka_unit_test(timers_fire_in_order_and_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
