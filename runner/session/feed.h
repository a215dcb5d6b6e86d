#pragma once

#include <stddef.h>

#include "common/base/error.h"

struct kage_loop;

/*
 * A descriptor that standard input is read from: a terminal, a pipe, a socket, or
 * a regular file or /dev/null, which epoll cannot watch because they are always
 * ready. Nothing is read beyond what was allowed, so the far end's window bounds
 * the memory, and what is not wanted stays where it is.
 */
struct kage_feed;

struct kage_feed_handler {
    void (*on_data)(const void *data, size_t len, void *user);
    /* Nothing more will come: the end (errnum 0), or reading failed. The feed may be freed. */
    void (*on_end)(int errnum, void *user);
};

/* fd stays the caller's and keeps its flags. */
int kage_feed_new(struct kage_loop *loop, int fd, const struct kage_feed_handler *handler,
                  void *user, struct kage_feed **ret, struct kage_error *err);
/* So many more bytes may be read. */
void kage_feed_allow(struct kage_feed *feed, size_t bytes);
void kage_feed_free(struct kage_feed *feed);
