#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/loop/conn.h"

struct kage_http_request;
struct kage_http_response;
struct kage_loop;

/*
 * WebSocket connections on a kage_loop: the one place that knows libwebsockets.
 * Messages are binary and arrive whole; a message longer than `rx_max` closes the
 * connection with status 1009.
 */
struct kage_ws; /* the library context, one per loop */

/* What a listener does. `user` of a connection is NULL until kage_conn_set_user(). */
struct kage_ws_handler {
    struct kage_conn_handler conn;
    /* The decision on an upgrade, before on_open. bearer is the token of "Authorization: Bearer …"
     * or NULL; origin the Origin header or NULL. */
    bool (*authorize)(const char *bearer, const char *origin, void *user);
    /* In place of authorize: 0 admits, else it is the HTTP status of the refusal. */
    unsigned (*on_upgrade)(const struct kage_http_request *request, void *user);
    /* Answers a plain HTTP request; see http.h. Without it, everything is 404. */
    void (*on_request)(const struct kage_http_request *request, struct kage_http_response *response,
                       void *user);
};

int kage_ws_new(struct kage_loop *loop, struct kage_ws **ret, struct kage_error *err);
void kage_ws_free(struct kage_ws *ws); /* closes every connection without callbacks */

/* Listens on address:port; port 0 lets the kernel choose. *ret_port is the port in use. `user` is
 * what the handler's functions get until kage_conn_set_user(). The handler must outlive ws. */
int kage_ws_listen(struct kage_ws *ws, const char *address, uint16_t port, size_t rx_max,
                   const struct kage_ws_handler *handler, void *user, uint16_t *ret_port,
                   struct kage_error *err);

/* Starts to connect; on_open or on_close tells how it went. on_close may come before this
 * returns; *ret is then NULL. */
int kage_ws_connect(struct kage_ws *ws, const char *address, uint16_t port, const char *bearer,
                    size_t rx_max, const struct kage_conn_handler *handler, void *user,
                    struct kage_conn **ret, struct kage_error *err);
