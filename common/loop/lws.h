#pragma once

#include <libwebsockets.h>

#include "common/loop/http.h"

struct kage_ws_conn;
struct kage_ws_handler;

/*
 * Between ws.c and http.c only, which are together the adapter to libwebsockets:
 * nothing else includes this.
 */
struct kage_http_reply; /* a response on its way */

/* The library zeroes and frees one of these with every connection to a listener. */
struct kage_lws_session {
    struct kage_ws_conn *conn;     /* once it is a WebSocket */
    struct kage_http_reply *reply; /* while a response is being sent */
};

/* The callbacks of plain HTTP. Each returns what the library is to be told. */
int kage_http_on_request(struct lws *wsi, struct kage_lws_session *session,
                         const struct kage_ws_handler *handler, void *user);
int kage_http_on_writable(struct lws *wsi, struct kage_lws_session *session);
void kage_http_on_closed(struct kage_lws_session *session);

/* The decision on an upgrade: 0 to go on, else -1 after the refusal has been sent. */
int kage_http_on_upgrade(struct lws *wsi, const struct kage_ws_handler *handler, void *user);
