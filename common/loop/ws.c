#include "common/loop/ws.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/loop/loop.h"
#include "common/loop/lws.h"

/*
 * Theory of operation. libwebsockets waits with its own poll(); Debian builds it
 * without external polling. So the loop's epoll descriptor is adopted by it as a
 * "raw file": when any watch of ours is ready, the library says so and the loop
 * dispatches. An epoll descriptor never hangs up, which keeps the library's
 * raw-file rule "POLLHUP closes, unread bytes or not" away from our pipes.
 *
 * Messages to send wait in a list of ours and are handed over one by one while
 * the socket takes them, so what is queued is known and senders can be held back.
 */

/* All headers of one request. A browser sends a server on 127.0.0.1 the cookies of every other one
 * there, whatever its port. */
#define HEADERS_MAX (16 * 1024)
#define SERVICE_BUFFER (64 * 1024)
/* The library sizes its descriptor table by RLIMIT_NOFILE. Container runtimes set that to a
 * billion; past this many we tell it to use a small table instead. */
#define FD_TABLE_MAX 65536
#define FD_TABLE_SMALL 1024

struct message {
    struct message *next;
    size_t len;
    unsigned char bytes[]; /* LWS_PRE bytes of room, then the message */
};

struct listener {
    const struct kage_ws_handler *handler;
    void *user;
    size_t rx_max;
};

struct kage_ws_conn {
    struct kage_conn base;
    struct kage_ws *ws;
    struct kage_ws_conn *prev, *next; /* of the same ws */
    struct lws *wsi;
    size_t rx_max;
    char *bearer; /* client only, until sent */
    struct kage_buf rx;
    struct message *first, **last;
    bool closing, opened;
};

struct kage_ws {
    struct kage_loop *loop;
    struct lws_context *lws;
    struct lws_vhost *client_vhost;
    struct listener listener;
    struct kage_ws_conn *conns;
    bool destroying;
};

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *session, void *in,
                  size_t len);

/* `session` is a struct kage_lws_session for connections to a listener, and for clients the
 * struct kage_ws_conn itself, which the library gets as userdata. */
static const struct lws_protocols server_protocols[] = {
    {.name = "kage",
     .callback = on_lws,
     .per_session_data_size = sizeof(struct kage_lws_session),
     .rx_buffer_size = SERVICE_BUFFER,
     .id = 1},
    {0},
};
static const struct lws_protocols client_protocols[] = {
    {.name = "kage", .callback = on_lws, .rx_buffer_size = SERVICE_BUFFER, .id = 2},
    {0},
};

/* No pings and no hang-up on silence: a stopped process may answer minutes later. */
static const lws_retry_bo_t no_idle_policy = {.secs_since_valid_ping = 0,
                                              .secs_since_valid_hangup = 0};

/* ---- sending ---- */

static struct kage_ws_conn *of(struct kage_conn *conn)
{
    return (struct kage_ws_conn *)conn;
}

static void ws_send(struct kage_conn *base, const void *head, size_t head_len, const void *body,
                    size_t body_len)
{
    struct kage_ws_conn *conn = of(base);
    struct message *m = kage_alloc(sizeof *m + LWS_PRE + head_len + body_len);

    m->len = head_len + body_len;
    memcpy(m->bytes + LWS_PRE, head, head_len);
    if (body_len)
        memcpy(m->bytes + LWS_PRE + head_len, body, body_len);
    *conn->last = m;
    conn->last = &m->next;
    kage_conn_queue(base, m->len);
    if (conn->opened)
        lws_callback_on_writable(conn->wsi);
}

/* The library keeps what the socket did not take of a message, and asks to be heard before more
 * comes. That needs no system call, as lws_send_pipe_choked() does. */
static int on_writable(struct kage_ws_conn *conn)
{
    size_t sent = 0;

    while (conn->first && !lws_partial_buffered(conn->wsi)) {
        struct message *m = conn->first;
        int n = lws_write(conn->wsi, m->bytes + LWS_PRE, m->len, LWS_WRITE_BINARY);

        conn->first = m->next;
        if (!conn->first)
            conn->last = &conn->first;
        sent += m->len;
        free(m);
        if (n < 0)
            return -1;
    }
    if (conn->first) {
        lws_callback_on_writable(conn->wsi);
    } else if (conn->closing) {
        lws_close_reason(conn->wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
        return -1;
    }
    kage_conn_drain(&conn->base, sent);
    return 0;
}

static void ws_pause(struct kage_conn *base, bool paused)
{
    lws_rx_flow_control(of(base)->wsi, !paused);
}

static void ws_close(struct kage_conn *base)
{
    struct kage_ws_conn *conn = of(base);

    conn->closing = true;
    if (conn->opened)
        lws_callback_on_writable(conn->wsi);
    else
        lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

static const struct kage_conn_kind kind = {.send = ws_send, .pause = ws_pause, .close = ws_close};

/* ---- connections ---- */

static struct kage_ws_conn *conn_new(struct kage_ws *ws, struct lws *wsi,
                                     const struct kage_conn_handler *handler, void *user,
                                     size_t rx_max)
{
    struct kage_ws_conn *conn = kage_alloc(sizeof *conn);

    *conn = (struct kage_ws_conn){.base = {.kind = &kind, .handler = handler, .user = user},
                                  .ws = ws,
                                  .wsi = wsi,
                                  .rx_max = rx_max};
    conn->last = &conn->first;
    conn->next = ws->conns;
    if (ws->conns)
        ws->conns->prev = conn;
    ws->conns = conn;
    return conn;
}

static void conn_free(struct kage_ws_conn *conn)
{
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        conn->ws->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    while (conn->first) {
        struct message *m = conn->first;

        conn->first = m->next;
        free(m);
    }
    kage_buf_done(&conn->rx);
    free(conn->bearer);
    free(conn);
}

static void conn_gone(struct kage_ws_conn *conn, const char *reason)
{
    if (!conn->ws->destroying && conn->base.handler->on_close)
        conn->base.handler->on_close(&conn->base, reason, conn->base.user);
    conn_free(conn);
}

static int conn_open(struct kage_ws_conn *conn)
{
    conn->opened = true;
    if (conn->base.handler->on_open)
        conn->base.handler->on_open(&conn->base, conn->base.user);
    if (conn->first || conn->closing)
        lws_callback_on_writable(conn->wsi);
    return 0;
}

static int on_receive(struct kage_ws_conn *conn, const void *data, size_t len)
{
    struct lws *wsi = conn->wsi;

    if (conn->closing)
        return 0;
    if (!lws_frame_is_binary(wsi)) {
        lws_close_reason(wsi, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, NULL, 0);
        return -1;
    }
    if (conn->rx.len + len + lws_remaining_packet_payload(wsi) > conn->rx_max) {
        lws_close_reason(wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, NULL, 0);
        return -1;
    }
    /* A message that came in one piece needs no copy. */
    if (!lws_is_final_fragment(wsi) || lws_remaining_packet_payload(wsi)) {
        kage_buf_add(&conn->rx, data, len);
        return 0;
    }
    if (conn->rx.len) {
        struct kage_buf whole = conn->rx;

        conn->rx = (struct kage_buf){0};
        kage_buf_add(&whole, data, len);
        conn->base.handler->on_message(&conn->base, (const uint8_t *)whole.data, whole.len,
                                       conn->base.user);
        kage_buf_done(&whole);
    } else {
        conn->base.handler->on_message(&conn->base, data, len, conn->base.user);
    }
    return 0;
}

/* ---- the library's callback ---- */

static int add_bearer(struct kage_ws_conn *conn, unsigned char **p, unsigned char *end)
{
    char *value = kage_asprintf("Bearer %s", conn->bearer);
    int r = lws_add_http_header_by_token(conn->wsi, WSI_TOKEN_HTTP_AUTHORIZATION,
                                         (unsigned char *)value, (int)strlen(value), p, end);

    explicit_bzero(value, strlen(value));
    free(value);
    return r ? -1 : 0;
}

static int on_server(struct lws *wsi, enum lws_callback_reasons reason,
                     struct kage_lws_session *session, void *in, size_t len)
{
    struct kage_ws *ws = lws_context_user(lws_get_context(wsi));
    struct listener *l = lws_vhost_user(lws_get_vhost(wsi));

    switch (reason) {
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return kage_http_on_upgrade(wsi, l->handler, l->user);
    case LWS_CALLBACK_HTTP:
        return kage_http_on_request(wsi, session, l->handler, l->user);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return kage_http_on_writable(wsi, session);
    case LWS_CALLBACK_CLOSED_HTTP:
        kage_http_on_closed(session);
        return 0;
    case LWS_CALLBACK_ESTABLISHED:
        session->conn = conn_new(ws, wsi, &l->handler->conn, l->user, l->rx_max);
        return conn_open(session->conn);
    case LWS_CALLBACK_RECEIVE:
        return session->conn ? on_receive(session->conn, in, len) : -1;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return session->conn ? on_writable(session->conn) : -1;
    case LWS_CALLBACK_CLOSED:
        if (session && session->conn)
            conn_gone(KAGE_TAKE(session->conn), "the connection was closed");
        return 0;
    default:
        return 0;
    }
}

static int on_client(struct lws *wsi, enum lws_callback_reasons reason, struct kage_ws_conn *conn,
                     void *in, size_t len)
{
    KAGE_CLEANUP(kage_freep) char *why = NULL;

    if (!conn)
        return 0;
    switch (reason) {
    case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
        conn->wsi = wsi;
        return add_bearer(conn, in, *(unsigned char **)in + len);
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        return conn_open(conn);
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return on_receive(conn, in, len);
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return on_writable(conn);
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        lws_set_wsi_user(wsi, NULL);
        why = in && len ? kage_strndup(in, len) : kage_strdup("the connection was refused");
        conn_gone(conn, why);
        return 0;
    case LWS_CALLBACK_CLIENT_CLOSED:
        lws_set_wsi_user(wsi, NULL);
        conn_gone(conn, "the connection was closed");
        return 0;
    default:
        return 0;
    }
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *session, void *in,
                  size_t len)
{
    const struct lws_protocols *protocol;
    struct kage_ws *ws;

    if (reason == LWS_CALLBACK_RAW_RX_FILE) {
        ws = lws_context_user(lws_get_context(wsi));
        kage_loop_dispatch(ws->loop);
        return 0;
    }
    protocol = lws_get_protocol(wsi);
    if (!protocol)
        return 0;
    return protocol->id == 1 ? on_server(wsi, reason, session, in, len)
                             : on_client(wsi, reason, session, in, len);
}

/* ---- set-up ---- */

static int drive(void *user)
{
    struct kage_ws *ws = user;

    return lws_service(ws->lws, 0) < 0 ? -1 : 0;
}

static struct lws_vhost *vhost_new(struct kage_ws *ws, int port, const char *address,
                                   const struct lws_protocols *protocols, void *user)
{
    struct lws_context_creation_info info = {
        .port = port,
        .iface = address,
        .protocols = protocols,
        .vhost_name = port == CONTEXT_PORT_NO_LISTEN ? "client" : "server",
        .options = LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME |
                   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND | LWS_SERVER_OPTION_DISABLE_IPV6,
        .retry_and_idle_policy = &no_idle_policy,
        .user = user,
    };

    return lws_create_vhost(ws->lws, &info);
}

int kage_ws_new(struct kage_loop *loop, struct kage_ws **ret, struct kage_error *err)
{
    struct kage_ws *ws = kage_alloc(sizeof *ws);
    struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS |
                   LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
        .pt_serv_buf_size = SERVICE_BUFFER,
        .max_http_header_data = HEADERS_MAX,
        .retry_and_idle_policy = &no_idle_policy,
        .user = ws,
    };
    lws_sock_file_fd_type fd;

    lws_set_log_level(0, NULL);
    if (sysconf(_SC_OPEN_MAX) > FD_TABLE_MAX)
        info.fd_limit_per_thread = FD_TABLE_SMALL;
    ws->loop = loop;
    ws->lws = lws_create_context(&info);
    ws->client_vhost =
        ws->lws ? vhost_new(ws, CONTEXT_PORT_NO_LISTEN, NULL, client_protocols, ws) : NULL;
    fd.filefd = ws->client_vhost ? dup(kage_loop_fd(loop)) : -1; /* the library closes it */
    if (fd.filefd < 0 || !lws_adopt_descriptor_vhost(ws->client_vhost, LWS_ADOPT_RAW_FILE_DESC, fd,
                                                     client_protocols[0].name, NULL)) {
        kage_ws_free(ws);
        return kage_error_set(err, KAGE_CLASS_HOST, "cannot set up libwebsockets");
    }
    kage_loop_set_driver(loop, drive, ws);
    *ret = ws;
    return 0;
}

void kage_ws_free(struct kage_ws *ws)
{
    if (!ws)
        return;
    ws->destroying = true;
    kage_loop_set_driver(ws->loop, NULL, NULL);
    if (ws->lws)
        lws_context_destroy(ws->lws);
    while (ws->conns) /* the library says nothing of clients that it was still connecting */
        conn_free(ws->conns);
    free(ws);
}

int kage_ws_listen(struct kage_ws *ws, const char *address, uint16_t port, size_t rx_max,
                   const struct kage_ws_handler *handler, void *user, uint16_t *ret_port,
                   struct kage_error *err)
{
    struct lws_vhost *vhost;

    ws->listener = (struct listener){.handler = handler, .user = user, .rx_max = rx_max};
    vhost = vhost_new(ws, port, address, server_protocols, &ws->listener);
    if (!vhost)
        return kage_error_set(err, KAGE_CLASS_HOST, "cannot listen on %s port %u", address, port);
    *ret_port = (uint16_t)lws_get_vhost_listen_port(vhost);
    return 0;
}

int kage_ws_connect(struct kage_ws *ws, const char *address, uint16_t port, const char *bearer,
                    size_t rx_max, const struct kage_conn_handler *handler, void *user,
                    struct kage_conn **ret, struct kage_error *err)
{
    struct kage_ws_conn *conn = conn_new(ws, NULL, handler, user, rx_max);
    KAGE_CLEANUP(kage_freep) char *host = kage_asprintf("%s:%u", address, port);
    struct lws *wsi = NULL;
    struct lws_client_connect_info info = {
        .context = ws->lws,
        .vhost = ws->client_vhost,
        .address = address,
        .port = port,
        .path = "/",
        .host = host,
        .local_protocol_name = client_protocols[0].name,
        .ietf_version_or_minus_one = -1,
        .userdata = conn,
        .pwsi = &wsi,
        .retry_and_idle_policy = &no_idle_policy,
    };

    conn->bearer = kage_strdup(bearer ? bearer : "");
    *ret = NULL;
    /* On failure the library has already called back, which told the caller and freed conn. */
    if (!lws_client_connect_via_info(&info))
        return 0;
    conn->wsi = wsi;
    *ret = &conn->base;
    return 0;
}
