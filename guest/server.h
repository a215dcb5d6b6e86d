#pragma once

#include <stdint.h>

#include "common/base/error.h"

struct kage_guest;
struct kage_ws;

/* Serves the protocol of docs/protocol.md on address:port; port 0 lets the kernel choose.
 * *ret_port is the port in use. The guest must outlive ws. */
int kage_server_listen(struct kage_guest *guest, struct kage_ws *ws, const char *address,
                       uint16_t port, uint16_t *ret_port, struct kage_error *err);

/* The same on a descriptor that leads to one client after the other (line.h), each of which begins
 * with a hello. Takes ownership of fd. */
int kage_server_serve_line(struct kage_guest *guest, int fd, struct kage_error *err);

/* Forgets the clients; for the end, after kage_ws_free(). */
void kage_server_done(struct kage_guest *guest);
