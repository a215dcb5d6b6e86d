#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct kage_http_request;
struct kage_http_response;
struct kage_loop;

/*
 * WebSocket connections on a kage_loop: the one place that knows libwebsockets.
 * Both ends use the same connection type. Messages are binary and arrive whole;
 * a message longer than `rx_max` closes the connection with status 1009.
 */
struct kage_ws;      /* the library context, one per loop */
struct kage_ws_conn; /* one connection */

/* on_open gets the connection before anything else; `user` of a connection is NULL until
 * kage_ws_set_user(). After on_close the pointer is dead. */
struct kage_ws_handler {
    void (*on_open)(struct kage_ws_conn *conn, void *user);
    void (*on_message)(struct kage_ws_conn *conn, const uint8_t *data, size_t len, void *user);
    /* The send queue fell to half of KAGE_WS_HIGH_WATER or below after having been above it. */
    void (*on_drain)(struct kage_ws_conn *conn, void *user);
    void (*on_close)(struct kage_ws_conn *conn, const char *reason, void *user);
    /* Server only: the decision on an upgrade, before on_open. bearer is the token of
     * "Authorization: Bearer …" or NULL; origin the Origin header or NULL. */
    bool (*authorize)(const char *bearer, const char *origin, void *user);
    /* Server only, in place of authorize: 0 admits, else it is the HTTP status of the refusal. */
    unsigned (*on_upgrade)(const struct kage_http_request *request, void *user);
    /* Server only: answers a plain HTTP request; see http.h. Without it, everything is 404. */
    void (*on_request)(const struct kage_http_request *request, struct kage_http_response *response,
                       void *user);
};

/* Senders are expected to stop at this many queued bytes and to go on at on_drain. */
#define KAGE_WS_HIGH_WATER (256u * 1024u)

int kage_ws_new(struct kage_loop *loop, struct kage_ws **ret, struct kage_error *err);
void kage_ws_free(struct kage_ws *ws); /* closes every connection without callbacks */

/* Listens on address:port; port 0 lets the kernel choose. *ret_port is the port in use. `user` is
 * what the handler's functions get until kage_ws_set_user(). The handler must outlive ws. */
int kage_ws_listen(struct kage_ws *ws, const char *address, uint16_t port, size_t rx_max,
                   const struct kage_ws_handler *handler, void *user, uint16_t *ret_port,
                   struct kage_error *err);

/* Starts to connect; on_open or on_close tells how it went. on_close may come before this
 * returns; *ret is then NULL. */
int kage_ws_connect(struct kage_ws *ws, const char *address, uint16_t port, const char *bearer,
                    size_t rx_max, const struct kage_ws_handler *handler, void *user,
                    struct kage_ws_conn **ret, struct kage_error *err);

void kage_ws_set_user(struct kage_ws_conn *conn, void *user);
void kage_ws_set_handler(struct kage_ws_conn *conn, const struct kage_ws_handler *handler,
                         void *user);

/* Queues one binary message made of two parts (the second may be empty). Copies. */
void kage_ws_send(struct kage_ws_conn *conn, const void *head, size_t head_len, const void *body,
                  size_t body_len);
size_t kage_ws_queued(const struct kage_ws_conn *conn); /* bytes not yet handed to the kernel */

/* Stops and resumes reading, so that TCP holds the peer back. */
void kage_ws_pause(struct kage_ws_conn *conn, bool paused);

/* Closes after what is queued has been sent; on_close follows from the loop. */
void kage_ws_close(struct kage_ws_conn *conn);
