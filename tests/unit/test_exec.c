#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/loop/loop.h"
#include "runner/session/feed.h"
#include "runner/session/login.h"

/* ---- feed ---- */

struct reader {
    struct kage_loop *loop;
    struct kage_feed *feed;
    struct kage_buf got;
    size_t step; /* allowed again after each piece */
    bool ended;
    int errnum;
};

static void on_data(const void *data, size_t len, void *user)
{
    struct reader *r = user;

    assert_true(len <= r->step);
    kage_buf_add(&r->got, data, len);
}

static void on_end(int errnum, void *user)
{
    struct reader *r = user;

    r->ended = true;
    r->errnum = errnum;
    kage_loop_quit(r->loop);
}

static void on_more(void *user)
{
    struct reader *r = user;

    kage_loop_quit(r->loop);
}

static const struct kage_feed_handler handler = {.on_data = on_data, .on_end = on_end};

static void open_reader(struct reader *r, int fd, size_t step)
{
    struct kage_error err = KAGE_ERROR_INIT;

    *r = (struct reader){.step = step};
    assert_int_equal(kage_loop_new(&r->loop, &err), 0);
    assert_int_equal(kage_feed_new(r->loop, fd, &handler, r, &r->feed, &err), 0);
}

/* Runs the loop until the end, or for a moment. */
static void turn(struct reader *r)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_timer *timer = NULL;

    assert_int_equal(kage_timer_new(r->loop, on_more, r, &timer, &err), 0);
    kage_timer_set(timer, 50);
    assert_int_equal(kage_loop_run(r->loop, &err), 0);
    kage_timer_free(timer);
}

static void read_all(struct reader *r)
{
    for (int i = 0; i < 100 && !r->ended; i++) {
        size_t before = r->got.len;

        kage_feed_allow(r->feed, r->step);
        if (!r->ended)
            turn(r);
        assert_true(r->got.len - before <= r->step);
    }
    assert_true(r->ended);
}

static void close_reader(struct reader *r)
{
    kage_feed_free(r->feed);
    kage_loop_free(r->loop);
    kage_buf_done(&r->got);
}

static void test_file(void **state)
{
    struct reader r;
    int fd = memfd_create("file", MFD_CLOEXEC);

    assert_int_equal(write(fd, "0123456789", 10), 10);
    lseek(fd, 0, SEEK_SET);
    open_reader(&r, fd, 4);
    read_all(&r);
    assert_string_equal(r.got.data, "0123456789");
    assert_int_equal(r.errnum, 0);
    close_reader(&r);
    close(fd);
}

static void test_null(void **state)
{
    struct reader r;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    open_reader(&r, fd, 4);
    read_all(&r);
    assert_int_equal(r.got.len, 0);
    close_reader(&r);
    close(fd);
}

static void test_folder(void **state)
{
    struct reader r;
    int fd = open("/", O_RDONLY | O_CLOEXEC);

    open_reader(&r, fd, 4);
    read_all(&r);
    assert_int_equal(r.errnum, EISDIR);
    close_reader(&r);
    close(fd);
}

/* What was not allowed stays in the pipe, for whoever reads it next. */
static void test_pipe(void **state)
{
    char rest[8] = "";
    struct reader r;
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(write(fds[1], "abcdef", 6), 6);
    open_reader(&r, fds[0], 4);
    kage_feed_allow(r.feed, 4);
    turn(&r);
    turn(&r);
    assert_string_equal(r.got.data, "abcd");
    assert_int_equal(read(fds[0], rest, sizeof rest), 2);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    close(fds[1]);
    turn(&r); /* a hang-up that nobody waits for */
    assert_false(r.ended);
    read_all(&r);
    close_reader(&r);
    close(fds[0]);
}

static void test_socket(void **state)
{
    struct reader r;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(write(fds[1], "abcdef", 6), 6);
    close(fds[1]);
    open_reader(&r, fds[0], 4);
    read_all(&r);
    assert_string_equal(r.got.data, "abcdef");
    close_reader(&r);
    close(fds[0]);
}

static void test_no_descriptor(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_loop *loop = NULL;
    struct kage_feed *feed = NULL;

    assert_int_equal(kage_loop_new(&loop, &err), 0);
    assert_int_equal(kage_feed_new(loop, 1000, &handler, NULL, &feed, &err), -1);
    assert_null(feed);
    kage_error_done(&err);
    kage_loop_free(loop);
}

/* ---- login ---- */

static void look_up(const char *text, size_t len, const char *user, const char *shell,
                    const char *home)
{
    struct kage_login login = {0};

    kage_login_find(text, len, user, &login);
    assert_string_equal(login.shell, shell);
    assert_string_equal(login.home, home);
    kage_login_done(&login);
}

static void test_login(void **state)
{
    static const char text[] = "root:x:0:0:root:/root:/bin/bash\n"
                               "# a comment\n"
                               "short:x:1\n"
                               "ann:x:1000:1000:Ann,,,:/home/ann:/usr/bin/zsh\n"
                               "plain:x:1:1:::\n"
                               "odd:x:1:1::relative:bin/sh\n"
                               "colon:x:1:1::/c:/bin/sh:x\n"
                               "nul:x:1:1::/n:/bin/s\0h\n"
                               "last:x:1:1::/l:/bin/last";

    look_up(text, sizeof text - 1, "root", "/bin/bash", "/root");
    look_up(text, sizeof text - 1, "ann", "/usr/bin/zsh", "/home/ann");
    look_up(text, sizeof text - 1, "plain", "/bin/sh", "/");
    look_up(text, sizeof text - 1, "odd", "/bin/sh", "/");
    look_up(text, sizeof text - 1, "colon", "/bin/sh:x", "/c");
    look_up(text, sizeof text - 1, "nul", "/bin/sh", "/n");
    look_up(text, sizeof text - 1, "last", "/bin/last", "/l");
    look_up(text, sizeof text - 1, "short", "/bin/sh", "/");
    look_up(text, sizeof text - 1, "an", "/bin/sh", "/");
    look_up(NULL, 0, "root", "/bin/sh", "/");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),   cmocka_unit_test(test_null),
        cmocka_unit_test(test_folder), cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_socket), cmocka_unit_test(test_no_descriptor),
        cmocka_unit_test(test_login),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
