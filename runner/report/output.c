#include "runner/report/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/loop/loop.h"

#define QUEUE_MAX (256u * 1024u) /* bytes waiting before the producer is told to stop */

struct kage_output {
    int fd;
    bool own_fd; /* fd is a non-blocking description of our own */
    bool is_socket;
    struct kage_watch *watch; /* NULL for files: they are always ready */
    const struct kage_output_handler *handler;
    void *user;
    struct kage_buf queue;
    size_t written; /* of the queue's front */
    bool full, broken;
};

static ssize_t write_some(struct kage_output *out, const char *data, size_t len)
{
    ssize_t n;

    do
        n = out->is_socket ? send(out->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                           : write(out->fd, data, len);
    while (n < 0 && errno == EINTR);
    return n;
}

static void fail(struct kage_output *out, int errnum)
{
    out->broken = true;
    kage_buf_clear(&out->queue);
    out->written = 0;
    if (out->watch)
        kage_watch_set(out->watch, 0);
    out->handler->on_broken(errnum, out->user);
}

/* Writes until done or the reader has had enough. Returns the bytes written, -1 after failing. */
static ssize_t push(struct kage_output *out, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write_some(out, data + done, len - done);

        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && out->watch)
            break;
        if (n < 0) {
            fail(out, errno);
            return -1;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static void on_writable(uint32_t events, void *user)
{
    struct kage_output *out = user;
    ssize_t n = push(out, out->queue.data + out->written, out->queue.len - out->written);

    if (n < 0)
        return;
    out->written += (size_t)n;
    if (out->written < out->queue.len)
        return;
    kage_buf_clear(&out->queue);
    out->written = 0;
    kage_watch_set(out->watch, 0);
    out->full = false;
    out->handler->on_empty(out->user);
}

void kage_output_write(struct kage_output *out, const void *data, size_t len)
{
    ssize_t n = 0;

    if (out->broken)
        return;
    if (!out->queue.len)
        n = push(out, data, len);
    if (n < 0 || (size_t)n == len)
        return;
    kage_buf_add(&out->queue, (const char *)data + n, len - (size_t)n);
    kage_watch_set(out->watch, EPOLLOUT);
    if (!out->full && out->queue.len - out->written > QUEUE_MAX) {
        out->full = true;
        out->handler->on_full(out->user);
    }
}

bool kage_output_pending(const struct kage_output *out)
{
    return out->queue.len > 0;
}

/* Setting O_NONBLOCK on a descriptor that others share would change it for them too: the shell, or
 * the other end of a pipeline. Opening it anew through /proc gives a description of our own. */
static int reopen(int fd)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("/proc/self/fd/%d", fd);

    return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

int kage_output_new(struct kage_loop *loop, int fd, const struct kage_output_handler *handler,
                    void *user, struct kage_output **ret, struct kage_error *err)
{
    struct kage_output *out = kage_alloc(sizeof *out);
    struct stat st = {0};
    int own;

    *out = (struct kage_output){.fd = fd, .handler = handler, .user = user};
    if (fstat(fd, &st) == 0)
        out->is_socket = S_ISSOCK(st.st_mode);
    /* One that is open for reading only must fail, not be opened for more than it was. */
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY &&
        (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) && (own = reopen(fd)) >= 0) {
        out->fd = own;
        out->own_fd = true;
    }
    /* Without a description of our own (somebody else's pipe, seen through sudo) the descriptor is
     * used as it is: a blocking one blocks, one that is not is waited for. */
    if (!S_ISREG(st.st_mode) &&
        kage_watch_new(loop, out->fd, EPOLLOUT, on_writable, out, &out->watch, NULL) == 0)
        kage_watch_set(out->watch, 0);
    *ret = out;
    return 0;
}

void kage_output_free(struct kage_output *out)
{
    if (!out)
        return;
    kage_watch_free(out->watch);
    if (out->own_fd)
        kage_closep(&out->fd);
    kage_buf_done(&out->queue);
    free(out);
}
