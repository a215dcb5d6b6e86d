#include "guest/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <termios.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/proto/frame.h"

/* ---- output ---- */

/* The bytes at hand go out; in text mode all but the start of an unfinished character. */
static void hand_over(struct kage_output *out, char *data, size_t len)
{
    size_t keep = out->text ? kage_utf8_incomplete_tail(data, len) : 0;

    memcpy(out->carry, data + len - keep, keep);
    out->carry_len = keep;
    if (len > keep)
        out->take(out, data, len - keep, out->user);
}

static void end(struct kage_output *out)
{
    char rest[sizeof out->carry];
    size_t n = out->carry_len;

    kage_watch_free(out->watch);
    out->watch = NULL;
    kage_closep(&out->fd);
    memcpy(rest, out->carry, n);
    out->carry_len = 0;
    if (n)
        out->take(out, rest, n, out->user);
    out->ended(out, out->user);
}

/* What a read found. */
enum found { SOME, PLENTY /* as much as was asked for */, NOTHING_MORE };

/* Reads once. After NOTHING_MORE the stream may be gone. */
static enum found pump(struct kage_output *out)
{
    static char data[KAGE_CHUNK_MAX];
    size_t room = sizeof data - out->carry_len;
    ssize_t n;

    memcpy(data, out->carry, out->carry_len);
    n = read(out->fd, data + out->carry_len, room);
    if (n > 0) {
        hand_over(out, data, out->carry_len + (size_t)n);
        return (size_t)n == room ? PLENTY : SOME;
    }
    if (n < 0 && errno == EINTR)
        return PLENTY;
    if (n < 0 && errno == EAGAIN && !out->orphan)
        return NOTHING_MORE;
    /* End of file; EIO is how a terminal says it; EAGAIN means that only a process outside of the
     * command's tree still holds the other end. */
    end(out);
    return NOTHING_MORE;
}

/* Much output is taken in few rounds of the loop, each of which costs several system calls; a read
 * that was not filled found the pipe empty, and asking once more would cost one for nothing. */
static void on_readable(uint32_t events, void *user)
{
    struct kage_output *out = user;

    do
        if (!out->ready(out->user)) {
            kage_watch_set(out->watch, 0);
            return;
        }
    while (pump(out) == PLENTY);
}

int kage_output_open(struct kage_output *out, struct kage_loop *loop, int fd,
                     struct kage_error *err)
{
    out->fd = fd;
    return kage_watch_new(loop, fd, 0, on_readable, out, &out->watch, err);
}

void kage_output_resume(struct kage_output *out)
{
    if (out->fd < 0)
        return;
    if (!out->orphan) {
        kage_watch_set(out->watch, EPOLLIN);
        return;
    }
    /* Nobody will write again, so no event is to be waited for. */
    while (out->fd >= 0 && out->ready(out->user) && pump(out) != NOTHING_MORE)
        ;
}

void kage_output_done(struct kage_output *out)
{
    kage_watch_free(out->watch);
    out->watch = NULL;
    kage_closep(&out->fd);
}

/* ---- input ---- */

/* A terminal has no end of file; its user types a character for it. In the middle of a line the
 * first one only hands the line over, the second one then reads as an end (termios(3), VEOF). */
static void send_terminal_end(struct kage_input *in)
{
    struct termios t;
    char eof[2] = {4, 4};

    if (tcgetattr(in->fd, &t) == 0) {
        if (!(t.c_lflag & ICANON))
            return;
        eof[0] = eof[1] = (char)t.c_cc[VEOF];
    }
    if (write(in->fd, eof, in->last && in->last != '\n' ? 2 : 1) < 0)
        in->broken = true;
}

static void shut(struct kage_input *in)
{
    kage_watch_free(in->watch);
    in->watch = NULL;
    kage_closep(&in->fd);
    kage_buf_done(&in->queue);
    in->at = 0;
}

/* Returns how many of the bytes are dealt with: written, or given up as nobody will read them. */
static size_t write_some(struct kage_input *in, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(in->fd, data + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            in->broken = true;
            return len; /* let the sender go on */
        }
        done += (size_t)n;
        in->last = data[done - 1];
    }
    return done;
}

/* `done` bytes have left the queue, or never came into it. */
static void settle(struct kage_input *in, size_t done)
{
    in->unreported += done;
    if (in->at >= in->queue.len) {
        kage_buf_clear(&in->queue);
        in->at = 0;
    } else if (in->at > KAGE_STDIN_WINDOW / 2) {
        kage_buf_consume(&in->queue, in->at);
        in->at = 0;
    }
    if (in->watch)
        kage_watch_set(in->watch, in->queue.len ? EPOLLOUT : 0);
    if (!in->queue.len && in->fd >= 0 && (in->closing || in->broken)) {
        if (in->tty && !in->broken)
            send_terminal_end(in);
        shut(in);
    }
    /* A report is a message and a packet. While more waits here its sender is not in need of one
     * for each page that the command reads. */
    if (in->unreported && (!in->queue.len || in->unreported >= KAGE_CHUNK_MAX)) {
        done = in->unreported;
        in->unreported = 0;
        in->consumed(in, done, in->user);
    }
}

static void flush(struct kage_input *in)
{
    size_t done = 0;

    if (in->fd >= 0 && in->at < in->queue.len)
        done = write_some(in, in->queue.data + in->at, in->queue.len - in->at);
    in->at += done;
    settle(in, done);
}

static void on_writable(uint32_t events, void *user)
{
    flush(user);
}

int kage_input_open(struct kage_input *in, struct kage_loop *loop, int fd, struct kage_error *err)
{
    in->fd = fd;
    return kage_watch_new(loop, fd, 0, on_writable, in, &in->watch, err);
}

size_t kage_input_queued(const struct kage_input *in)
{
    return in->queue.len - in->at;
}

void kage_input_write(struct kage_input *in, const char *data, size_t len)
{
    /* What is queued already waits for the descriptor to take more, and comes first. */
    size_t done = in->queue.len ? 0 : write_some(in, data, len);

    if (done < len)
        kage_buf_add(&in->queue, data + done, len - done);
    settle(in, done);
}

void kage_input_close(struct kage_input *in)
{
    in->closing = true;
    flush(in);
}

void kage_input_done(struct kage_input *in)
{
    shut(in);
}
