#include "common/loop/line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/loop/loop.h"
#include "common/proto/frame.h"

/*
 * Theory of operation. What is sent waits until the loop is about to wait: the
 * answers to several requests then leave in one write, and each write to a
 * virtio-serial port makes the guest leave its processor once.
 *
 * What is received is handed on where it lies. A handler that pauses the line
 * leaves whole frames in the buffer; they go on when it is read again.
 */

/* A virtio-serial port gives out one page at a time, a socket as much as there is. */
#define PORT_READ 4096u
#define RX_ROOM (256u * 1024u)
/* More than this is not kept once a long frame has gone. */
#define BUFFER_KEPT (1024u * 1024u)
/* Reads in a row before others get their turn. */
#define READS_MAX 16

struct kage_line {
    struct kage_conn conn;
    struct kage_loop *loop;
    struct kage_watch *watch;
    struct kage_later flush, redeliver;
    int fd;
    size_t rx_max;
    uint8_t *rx;
    size_t rx_at, rx_len, rx_cap; /* what is not handed on yet lies at rx[rx_at] to rx[rx_len] */
    struct kage_buf tx;
    size_t tx_at;
    bool blocked; /* the descriptor takes no more for now */
    bool paused, delivering;
};

static struct kage_line *line_of(struct kage_conn *conn)
{
    return (struct kage_line *)conn;
}

static void set_events(struct kage_line *line)
{
    uint32_t events = 0;

    if (!line->conn.closed && !line->paused)
        events |= EPOLLIN;
    if (!line->conn.closed && line->blocked)
        events |= EPOLLOUT;
    kage_watch_set(line->watch, events);
}

static void closed(struct kage_line *line, const char *reason)
{
    if (line->conn.closed)
        return;
    line->conn.closed = true;
    set_events(line);
    if (line->conn.handler->on_close)
        line->conn.handler->on_close(&line->conn, reason, line->conn.user);
}

/* ---- sending ---- */

static void forget_queue(struct kage_line *line)
{
    if (line->tx.cap > BUFFER_KEPT)
        kage_buf_done(&line->tx);
    else
        kage_buf_clear(&line->tx);
    line->tx_at = 0;
    line->blocked = false;
}

static void flush(void *user)
{
    struct kage_line *line = user;
    size_t before = line->tx.len - line->tx_at;

    while (!line->conn.closed && line->tx_at < line->tx.len) {
        ssize_t n = write(line->fd, line->tx.data + line->tx_at, line->tx.len - line->tx_at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) { /* nobody will read it; what is wrong shows when the line is read */
            forget_queue(line);
            break;
        }
        line->tx_at += (size_t)n;
    }
    if (line->tx_at == line->tx.len) {
        forget_queue(line);
    } else {
        line->blocked = true;
        if (line->tx_at > line->tx.len / 2) {
            kage_buf_consume(&line->tx, line->tx_at);
            line->tx_at = 0;
        }
    }
    set_events(line);
    kage_conn_drain(&line->conn, before - (line->tx.len - line->tx_at));
}

static void line_send(struct kage_conn *conn, const void *head, size_t head_len, const void *body,
                      size_t body_len)
{
    struct kage_line *line = line_of(conn);

    if (line->conn.closed)
        return;
    kage_buf_add(&line->tx, head, head_len);
    kage_buf_add(&line->tx, body, body_len);
    kage_conn_queue(conn, head_len + body_len);
    if (!line->blocked)
        kage_loop_later(line->loop, &line->flush);
}

/* ---- receiving ---- */

static size_t frame_len(const uint8_t *at)
{
    uint32_t len = 0;

    for (int i = 0; i < 4; i++)
        len |= (uint32_t)at[1 + i] << (8 * i);
    return KAGE_FRAME_HEADER + (size_t)len;
}

/* Hands on whole frames; makes room for the rest of one that is not. */
static void deliver(void *user)
{
    struct kage_line *line = user;

    if (line->delivering)
        return;
    line->delivering = true;
    while (!line->conn.closed && !line->paused && line->rx_len - line->rx_at >= KAGE_FRAME_HEADER) {
        const uint8_t *at = line->rx + line->rx_at;
        size_t len = frame_len(at);
        struct kage_conn *conn = &line->conn;

        if (len > line->rx_max) {
            conn->handler->on_message(conn, at, KAGE_FRAME_HEADER, conn->user);
            flush(line); /* what is to be said about it */
            closed(line, "a message that is too long");
            break;
        }
        if (line->rx_len - line->rx_at < len) {
            line->rx = kage_array_grow(line->rx, &line->rx_cap, line->rx_at + len, 1);
            break;
        }
        line->rx_at += len;
        conn->handler->on_message(conn, at, len, conn->user);
    }
    line->delivering = false;
    if (line->rx_at < line->rx_len)
        return;
    line->rx_at = line->rx_len = 0;
    if (line->rx_cap > BUFFER_KEPT) {
        free(line->rx);
        line->rx_cap = 0;
        line->rx = kage_array_grow(NULL, &line->rx_cap, RX_ROOM, 1);
    }
}

/* Returns what read() did; there is room for a page at least. */
static ssize_t receive(struct kage_line *line)
{
    ssize_t n;

    if (line->rx_cap - line->rx_len < PORT_READ && line->rx_at) {
        memmove(line->rx, line->rx + line->rx_at, line->rx_len - line->rx_at);
        line->rx_len -= line->rx_at;
        line->rx_at = 0;
    }
    if (line->rx_cap - line->rx_len < PORT_READ)
        line->rx = kage_array_grow(line->rx, &line->rx_cap, line->rx_len + PORT_READ, 1);
    n = read(line->fd, line->rx + line->rx_len, line->rx_cap - line->rx_len);
    if (n > 0)
        line->rx_len += (size_t)n;
    return n;
}

static void on_readable(struct kage_line *line)
{
    deliver(line); /* what lay there when the reader stopped comes first */
    for (int i = 0; i < READS_MAX && !line->conn.closed && !line->paused; i++) {
        ssize_t n = receive(line);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            closed(line, n < 0 ? strerror(errno) : "the connection was closed");
            return;
        }
        deliver(line);
        if ((size_t)n < PORT_READ)
            return;
    }
}

/* A reader that has stopped still gets what there is, and finds the end behind it. */
static void hung_up(struct kage_line *line)
{
    size_t dropped = line->tx.len - line->tx_at;

    if (!line->paused) {
        closed(line, "the connection was closed");
        return;
    }
    forget_queue(line);
    set_events(line);
    kage_conn_drain(&line->conn, dropped);
}

static void on_event(uint32_t events, void *user)
{
    struct kage_line *line = user;

    if (events & EPOLLOUT)
        flush(line);
    if (events & EPOLLIN)
        on_readable(line);
    else if (events & (EPOLLHUP | EPOLLERR))
        hung_up(line);
}

static void line_pause(struct kage_conn *conn, bool paused)
{
    struct kage_line *line = line_of(conn);

    if (line->paused == paused)
        return;
    line->paused = paused;
    set_events(line);
    if (!paused && line->rx_at < line->rx_len)
        kage_loop_later(line->loop, &line->redeliver);
}

/* ---- life ---- */

static void line_close(struct kage_conn *conn)
{
    struct kage_line *line = line_of(conn);

    flush(line);
    closed(line, "closed");
}

static const struct kage_conn_kind kind = {
    .send = line_send, .pause = line_pause, .close = line_close};

int kage_line_new(struct kage_loop *loop, int fd, size_t rx_max,
                  const struct kage_conn_handler *handler, void *user, struct kage_line **ret,
                  struct kage_error *err)
{
    struct kage_line *line = kage_alloc(sizeof *line);
    int flags = fcntl(fd, F_GETFL);

    *line = (struct kage_line){.conn = {.kind = &kind, .handler = handler, .user = user},
                               .loop = loop,
                               .flush = {.fn = flush, .user = line},
                               .redeliver = {.fn = deliver, .user = line},
                               .fd = fd,
                               .rx_max = rx_max};
    line->rx = kage_array_grow(NULL, &line->rx_cap, RX_ROOM, 1);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        kage_error_errno(err, KAGE_CLASS_INTERNAL, errno, "cannot use descriptor %d", fd);
        kage_line_free(line);
        return -1;
    }
    if (kage_watch_new(loop, fd, EPOLLIN, on_event, line, &line->watch, err) < 0) {
        kage_line_free(line);
        return -1;
    }
    *ret = line;
    return 0;
}

void kage_line_free(struct kage_line *line)
{
    if (!line)
        return;
    kage_loop_not_later(line->loop, &line->flush);
    kage_loop_not_later(line->loop, &line->redeliver);
    kage_watch_free(line->watch);
    kage_closep(&line->fd);
    kage_buf_done(&line->tx);
    free(line->rx);
    free(line);
}

struct kage_conn *kage_line_conn(struct kage_line *line)
{
    return &line->conn;
}
