/* Bytes on a line, in pieces of any size, to a reader that stops now and then. What is handed on is
 * what the frames' own lengths say, whole and in order; one that is too long is handed on as far as
 * its header and ends the line. */
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/loop/line.h"
#include "common/loop/loop.h"
#include "common/proto/frame.h"
#include "tests/fuzz/fuzz.h"

#define LONGEST 600u

static struct kage_buf got, wanted;
static uint8_t pauses; /* a bit for each of the next frames: stop behind it */
static bool paused, ended;

static void note(struct kage_buf *to, const uint8_t *data, size_t len)
{
    kage_buf_add(to, &len, sizeof len);
    kage_buf_add(to, data, len);
}

static void on_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
    PROMISE(!paused && !ended);
    note(&got, data, len);
    if (pauses & 1) {
        paused = true;
        kage_conn_pause(conn, true);
    }
    pauses >>= 1;
}

static void on_close(struct kage_conn *conn, const char *reason, void *user)
{
    PROMISE(!ended && reason && *reason);
    ended = true;
}

/* How the stream is to be read. */
static void cut(const uint8_t *data, size_t size)
{
    while (size >= KAGE_FRAME_HEADER) {
        size_t len = KAGE_FRAME_HEADER + ((size_t)data[1] | (size_t)data[2] << 8 |
                                          (size_t)data[3] << 16 | (size_t)data[4] << 24);

        if (len > LONGEST) {
            note(&wanted, data, KAGE_FRAME_HEADER);
            return;
        }
        if (len > size)
            return;
        note(&wanted, data, len);
        data += len;
        size -= len;
    }
}

static void quit(void *user)
{
    kage_loop_quit(user);
}

/* Everything that is due, and what has arrived. */
static void turn(struct kage_loop *loop)
{
    struct kage_later end = {.fn = quit, .user = loop};
    struct kage_error err = KAGE_ERROR_INIT;

    kage_loop_later(loop, &end);
    PROMISE(kage_loop_run(loop, &err) == 0);
    kage_loop_dispatch(loop);
}

static void go_on(struct kage_loop *loop, struct kage_line *line)
{
    paused = false;
    kage_conn_pause(kage_line_conn(line), false);
    turn(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kage_conn_handler handler = {.on_message = on_message,
                                                     .on_close = on_close};
    struct fuzz_input in = {data, size};
    struct kage_error err = KAGE_ERROR_INIT;
    uint8_t piece = fuzz_byte(&in);
    struct kage_loop *loop;
    struct kage_line *line;
    int pair[2];

    pauses = fuzz_byte(&in);
    paused = ended = false;
    cut(in.data, in.size);
    PROMISE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    PROMISE(kage_loop_new(&loop, &err) == 0);
    PROMISE(kage_line_new(loop, pair[0], LONGEST, &handler, NULL, &line, &err) == 0);
    while (in.size) {
        size_t n = piece % 64 + 1u < in.size ? piece % 64 + 1u : in.size;

        PROMISE(send(pair[1], in.data, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n);
        in.data += n;
        in.size -= n;
        piece = (uint8_t)(piece * 5 + 1);
        turn(loop);
        if (paused && piece % 3)
            go_on(loop, line);
    }
    while (paused)
        go_on(loop, line);
    turn(loop);
    PROMISE(got.len == wanted.len && (!got.len || !memcmp(got.data, wanted.data, got.len)));
    PROMISE(ended == kage_conn_is_closed(kage_line_conn(line)));
    kage_line_free(line);
    kage_loop_free(loop);
    close(pair[1]);
    kage_buf_done(&got);
    kage_buf_done(&wanted);
    return 0;
}
