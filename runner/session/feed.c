#include "runner/session/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/proto/frame.h"

/* Half of the window, so that one half is on its way while the other is being read. Each message
 * costs the guest a reply as well. */
#define CHUNK (KAGE_STDIN_WINDOW / 2)

struct kage_feed {
    int fd;
    bool own_fd, is_socket;
    struct kage_watch *watch; /* NULL when the descriptor is always ready */
    const struct kage_feed_handler *handler;
    void *user;
    size_t allowed;
    bool ended;
};

static ssize_t read_some(const struct kage_feed *f, void *data, size_t len)
{
    ssize_t n;

    do
        n = f->is_socket ? recv(f->fd, data, len, MSG_DONTWAIT) : read(f->fd, data, len);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Reads once. Returns whether there may be more at once; the feed may be gone when not. */
static bool pump(struct kage_feed *f)
{
    char data[CHUNK];
    ssize_t n = read_some(f, data, f->allowed < sizeof data ? f->allowed : sizeof data);

    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (n <= 0) {
        /* EIO is how a terminal says that it is gone, or another's. */
        int errnum = n == 0 || errno == EIO ? 0 : errno;

        f->ended = true;
        if (f->watch)
            kage_watch_set(f->watch, 0);
        f->handler->on_end(errnum, f->user);
        return false;
    }
    f->allowed -= (size_t)n;
    if (!f->allowed && f->watch)
        kage_watch_set(f->watch, 0); /* also so that a hang-up does not spin */
    f->handler->on_data(data, (size_t)n, f->user);
    return f->allowed > 0;
}

static void on_readable(uint32_t events, void *user)
{
    pump(user);
}

/* A pipe may have other readers, and one of them can be faster than our read: only a description
 * of our own may be made non-blocking, since others share the flags of this one. */
static int reopen(int fd)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("/proc/self/fd/%d", fd);

    return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

int kage_feed_new(struct kage_loop *loop, int fd, const struct kage_feed_handler *handler,
                  void *user, struct kage_feed **ret, struct kage_error *err)
{
    struct kage_feed *f = kage_alloc(sizeof *f);
    struct stat st;
    int own;

    *f = (struct kage_feed){.fd = fd, .handler = handler, .user = user};
    if (fstat(fd, &st) < 0) {
        int e = errno;

        free(f);
        return kage_error_errno(err, KAGE_CLASS_HOST, e, "cannot read standard input");
    }
    f->is_socket = S_ISSOCK(st.st_mode);
    if (S_ISFIFO(st.st_mode) && (own = reopen(fd)) >= 0) {
        f->fd = own;
        f->own_fd = true;
    }
    /* EPERM: a file, or a device that is always ready. */
    if (kage_watch_new(loop, f->fd, EPOLLIN, on_readable, f, &f->watch, NULL) == 0)
        kage_watch_set(f->watch, 0);
    *ret = f;
    return 0;
}

void kage_feed_allow(struct kage_feed *f, size_t bytes)
{
    if (f->ended)
        return;
    f->allowed += bytes;
    if (f->watch)
        kage_watch_set(f->watch, f->allowed ? EPOLLIN : 0);
    else
        while (pump(f))
            ;
}

void kage_feed_free(struct kage_feed *f)
{
    if (!f)
        return;
    kage_watch_free(f->watch);
    if (f->own_fd)
        kage_closep(&f->fd);
    free(f);
}
