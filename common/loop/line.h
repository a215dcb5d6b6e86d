#pragma once

#include <stddef.h>

#include "common/base/error.h"
#include "common/loop/conn.h"

struct kage_loop;

/*
 * Frames of the protocol, one behind the other, on a descriptor that is already
 * connected: a virtio-serial port in the guest, the socket pair to QEMU on the
 * host. A frame says itself how long it is, so nothing else is needed.
 *
 * A frame longer than `rx_max` is handed on as far as its header, for its reader
 * to complain about, and then the line is closed: where the next one begins
 * cannot be told any more. kage_conn_close() writes what it can of what is queued, and calls
 * on_close before it returns.
 */
struct kage_line;

/* Takes ownership of fd, also on failure, and makes it non-blocking. */
int kage_line_new(struct kage_loop *loop, int fd, size_t rx_max,
                  const struct kage_conn_handler *handler, void *user, struct kage_line **ret,
                  struct kage_error *err);
/* Not from inside the handler's functions; may be NULL. on_close is not called. */
void kage_line_free(struct kage_line *line);

struct kage_conn *kage_line_conn(struct kage_line *line);
