#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/proto/frame.h"
#include "guest/stream.h"

/* One output or input stream with the other end of its pipe in hand. */
struct fixture {
    struct kage_loop *loop;
    struct kage_output out;
    struct kage_input in;
    int peer;
    struct kage_buf got;
    size_t takes, consumed;
    bool ready, ended;
};

static bool on_ready(void *user)
{
    return ((struct fixture *)user)->ready;
}

static void on_take(struct kage_output *out, const char *data, size_t len, void *user)
{
    struct fixture *f = user;

    f->takes++;
    kage_buf_add(&f->got, data, len);
}

static void on_ended(struct kage_output *out, void *user)
{
    ((struct fixture *)user)->ended = true;
}

static void on_consumed(struct kage_input *in, size_t bytes, void *user)
{
    ((struct fixture *)user)->consumed += bytes;
}

static void open_output(struct fixture *f, bool text)
{
    int fds[2];

    *f = (struct fixture){.ready = true};
    f->in.fd = -1;
    assert_int_equal(kage_loop_new(&f->loop, NULL), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    f->out = (struct kage_output){
        .text = text, .ready = on_ready, .take = on_take, .ended = on_ended, .user = f};
    assert_int_equal(kage_output_open(&f->out, f->loop, fds[0], NULL), 0);
    f->peer = fds[1];
}

static void open_input(struct fixture *f)
{
    int fds[2];

    *f = (struct fixture){.ready = true};
    f->out.fd = -1;
    assert_int_equal(kage_loop_new(&f->loop, NULL), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    f->in = (struct kage_input){.consumed = on_consumed, .user = f};
    assert_int_equal(kage_input_open(&f->in, f->loop, fds[1], NULL), 0);
    f->peer = fds[0];
}

static void done(struct fixture *f)
{
    kage_output_done(&f->out);
    kage_input_done(&f->in);
    kage_closep(&f->peer);
    kage_buf_done(&f->got);
    kage_loop_free(f->loop);
}

static void put(struct fixture *f, const char *data, size_t len)
{
    assert_int_equal(write(f->peer, data, len), (ssize_t)len);
    kage_loop_dispatch(f->loop);
}

static void text_keeps_characters_whole(void **state)
{
    struct fixture f;

    open_output(&f, true);
    kage_output_resume(&f.out);
    put(&f, "a\xE2\x82", 3);
    assert_string_equal(f.got.data, "a");
    put(&f, "\xAC", 1);
    assert_string_equal(f.got.data, "a\xE2\x82\xAC");
    put(&f, "\xF0\x9D", 2); /* never completed: comes out at the end, as it is */
    assert_int_equal(f.got.len, 4);
    kage_closep(&f.peer);
    kage_loop_dispatch(f.loop);
    assert_true(f.ended);
    assert_string_equal(f.got.data, "a\xE2\x82\xAC\xF0\x9D");
    done(&f);
}

static void bytes_go_out_at_once(void **state)
{
    struct fixture f;

    open_output(&f, false);
    kage_output_resume(&f.out);
    put(&f, "a\xE2\x82", 3);
    assert_int_equal(f.got.len, 3);
    done(&f);
}

static void waits_for_its_taker(void **state)
{
    struct fixture f;

    open_output(&f, false);
    f.ready = false;
    kage_output_resume(&f.out);
    put(&f, "data", 4);
    put(&f, "more", 4);
    assert_int_equal(f.takes, 0);
    f.ready = true;
    kage_output_resume(&f.out);
    kage_loop_dispatch(f.loop);
    assert_string_equal(f.got.data, "datamore");
    done(&f);
}

/* A process elsewhere holds the other end: what is there is all there will be. */
static void an_orphan_ends_when_it_is_empty(void **state)
{
    struct fixture f;

    open_output(&f, false);
    put(&f, "rest", 4);
    assert_int_equal(f.takes, 0);
    f.out.orphan = true;
    kage_output_resume(&f.out);
    assert_true(f.ended);
    assert_string_equal(f.got.data, "rest");
    done(&f);
}

static void credit_follows_what_was_written(void **state)
{
    struct fixture f;
    KAGE_CLEANUP(kage_freep) char *data = kage_alloc(KAGE_STDIN_WINDOW);
    size_t read_back = 0;
    ssize_t n;

    open_input(&f);
    kage_input_write(&f.in, data, KAGE_STDIN_WINDOW);
    assert_true(f.consumed > 0 && f.consumed < KAGE_STDIN_WINDOW); /* a pipe holds 64 KiB */
    assert_int_equal(kage_input_queued(&f.in), KAGE_STDIN_WINDOW - f.consumed);
    kage_input_close(&f.in);
    for (;;) {
        n = read(f.peer, data, KAGE_STDIN_WINDOW);
        if (n == 0)
            break;
        assert_true(n > 0 || errno == EAGAIN);
        read_back += n > 0 ? (size_t)n : 0;
        kage_loop_dispatch(f.loop);
    }
    assert_int_equal(read_back, KAGE_STDIN_WINDOW);
    assert_int_equal(f.consumed, KAGE_STDIN_WINDOW);
    assert_int_equal(f.in.fd, -1);
    done(&f);
}

static void nobody_reads(void **state)
{
    struct fixture f;

    open_input(&f);
    kage_closep(&f.peer);
    kage_input_write(&f.in, "lost", 4);
    assert_true(f.in.broken);
    assert_int_equal(f.consumed, 4); /* the sender may go on */
    assert_int_equal(f.in.fd, -1);
    done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_keeps_characters_whole),
        cmocka_unit_test(bytes_go_out_at_once),
        cmocka_unit_test(waits_for_its_taker),
        cmocka_unit_test(an_orphan_ends_when_it_is_empty),
        cmocka_unit_test(credit_follows_what_was_written),
        cmocka_unit_test(nobody_reads),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
