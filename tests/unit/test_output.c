#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "runner/report/output.h"

struct pipes {
    struct kage_loop *loop;
    struct kage_output *out;
    struct kage_watch *reader;
    int fds[2];
    size_t sent, received;
    int fulls, empties, broken;
};

#define TOTAL (3u * 1024u * 1024u)

static void on_full(void *user)
{
    ((struct pipes *)user)->fulls++;
}

static void on_empty(void *user)
{
    ((struct pipes *)user)->empties++;
}

static void on_broken(int errnum, void *user)
{
    ((struct pipes *)user)->broken = errnum;
    kage_loop_quit(((struct pipes *)user)->loop);
}

static const struct kage_output_handler handler = {
    .on_full = on_full, .on_empty = on_empty, .on_broken = on_broken};

static void on_readable(uint32_t events, void *user)
{
    struct pipes *p = user;
    unsigned char chunk[5000];
    ssize_t n = read(p->fds[0], chunk, sizeof chunk);

    assert_true(n > 0);
    for (ssize_t i = 0; i < n; i++)
        assert_int_equal(chunk[i], (p->received + (size_t)i) % 251);
    p->received += (size_t)n;
    if (p->received == TOTAL)
        kage_loop_quit(p->loop);
}

static void open_pipes(struct pipes *p)
{
    struct kage_error err = KAGE_ERROR_INIT;

    assert_int_equal(pipe(p->fds), 0);
    assert_int_equal(kage_loop_new(&p->loop, &err), 0);
    assert_int_equal(kage_output_new(p->loop, p->fds[1], &handler, p, &p->out, &err), 0);
}

static void a_slow_reader_gets_every_byte_in_order(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct pipes p = {0};
    unsigned char *all = kage_alloc(TOTAL);

    open_pipes(&p);
    for (size_t i = 0; i < TOTAL; i++)
        all[i] = (unsigned char)(i % 251);
    for (size_t at = 0; at < TOTAL; at += 65536)
        kage_output_write(p.out, all + at, 65536);
    assert_int_equal(p.fulls, 1);
    assert_true(kage_output_pending(p.out));
    assert_int_equal(kage_watch_new(p.loop, p.fds[0], EPOLLIN, on_readable, &p, &p.reader, &err),
                     0);
    assert_int_equal(kage_loop_run(p.loop, &err), 0);
    assert_int_equal(p.received, TOTAL);
    assert_false(kage_output_pending(p.out));
    assert_int_equal(p.empties, 1);
    /* The descriptor that others share keeps its flags. */
    assert_false(fcntl(p.fds[1], F_GETFL) & O_NONBLOCK);
    kage_watch_free(p.reader);
    kage_output_free(p.out);
    kage_loop_free(p.loop);
    close(p.fds[0]);
    close(p.fds[1]);
    free(all);
}

static void a_reader_that_leaves_is_told_once(void **state)
{
    struct pipes p = {0};

    signal(SIGPIPE, SIG_IGN);
    open_pipes(&p);
    close(p.fds[0]);
    kage_output_write(p.out, "x", 1);
    assert_int_equal(p.broken, EPIPE);
    p.broken = 0;
    kage_output_write(p.out, "x", 1);
    assert_int_equal(p.broken, 0);
    kage_output_free(p.out);
    kage_loop_free(p.loop);
    close(p.fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_reader_gets_every_byte_in_order),
        cmocka_unit_test(a_reader_that_leaves_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
