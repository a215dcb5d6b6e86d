#include "common/loop/http.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/loop/lws.h"
#include "common/loop/ws.h"

/* Room for the status line and the header of a response. */
#define RESPONSE_HEADER_MAX 4096
#define BODY_CHUNK 16384

struct kage_http_reply {
    struct kage_http_response response;
    size_t sent;
};

/* What a request borrows its strings from. */
struct request_text {
    char *path, *host, *origin, *cookie, *authorization;
};

void kage_http_add(struct kage_http_response *r, const char *name, const char *fmt, ...)
{
    struct kage_buf value = {0};
    va_list ap;

    if (r->n_fields == KAGE_HTTP_FIELDS_MAX)
        abort(); /* the fields are the program's own, not the peer's */
    va_start(ap, fmt);
    kage_buf_vaddf(&value, fmt, ap);
    va_end(ap);
    r->fields[r->n_fields++] =
        (struct kage_http_field){.name = name, .value = kage_buf_take(&value)};
}

static void response_done(struct kage_http_response *r)
{
    for (size_t i = 0; i < r->n_fields; i++)
        free(r->fields[i].value);
    free(r->owned_body);
}

/* ---- requests ---- */

/* The library bounds all headers of a request together; see HEADERS_MAX in ws.c. */
static char *copy_header(struct lws *wsi, enum lws_token_indexes token)
{
    int len = lws_hdr_total_length(wsi, token);
    char *text;

    if (len <= 0)
        return NULL;
    text = kage_alloc((size_t)len + 1);
    if (lws_hdr_copy(wsi, text, len + 1, token) < 0 || strlen(text) != (size_t)len)
        strcpy(text, "?"); /* as wrong as a header can be, and not absent */
    return text;
}

static void read_request(struct lws *wsi, struct kage_http_request *request,
                         struct request_text *text)
{
    bool post = lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) > 0;
    bool get = lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) > 0;

    text->path = copy_header(wsi, post ? WSI_TOKEN_POST_URI : WSI_TOKEN_GET_URI);
    text->host = copy_header(wsi, WSI_TOKEN_HOST);
    text->origin = copy_header(wsi, WSI_TOKEN_ORIGIN);
    text->cookie = copy_header(wsi, WSI_TOKEN_HTTP_COOKIE);
    text->authorization = copy_header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION);
    *request = (struct kage_http_request){
        .method = post  ? KAGE_HTTP_POST
                  : get ? KAGE_HTTP_GET
                        : KAGE_HTTP_OTHER,
        .path = text->path ? text->path : "",
        .has_query = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_URI_ARGS) > 0,
        .host = text->host,
        .origin = text->origin,
        .cookie = text->cookie,
    };
    if (text->authorization && !strncasecmp(text->authorization, "Bearer ", 7))
        request->bearer = text->authorization + 7;
}

static void request_done(struct request_text *text)
{
    free(text->path);
    free(text->host);
    free(text->origin);
    free(text->cookie);
    if (text->authorization)
        explicit_bzero(text->authorization, strlen(text->authorization));
    free(text->authorization);
}

static bool has_body(struct lws *wsi)
{
    KAGE_CLEANUP(kage_freep) char *length = copy_header(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH);

    return lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0 ||
           (length && strcmp(length, "0") != 0);
}

/* ---- responses ---- */

static int send_header(struct lws *wsi, const struct kage_http_response *r)
{
    unsigned char header[LWS_PRE + RESPONSE_HEADER_MAX];
    unsigned char *start = header + LWS_PRE, *p = start, *end = header + sizeof header - 1;

    if (lws_add_http_common_headers(wsi, r->status, r->type ? r->type : "text/plain", r->len, &p,
                                    end))
        return -1;
    for (size_t i = 0; i < r->n_fields; i++) {
        KAGE_CLEANUP(kage_freep) char *name = kage_asprintf("%s:", r->fields[i].name);
        const unsigned char *value = (const unsigned char *)r->fields[i].value;

        if (lws_add_http_header_by_name(wsi, (const unsigned char *)name, value,
                                        (int)strlen(r->fields[i].value), &p, end))
            return -1;
    }
    return lws_finalize_write_http_header(wsi, start, &p, end) ? -1 : 0;
}

int kage_http_on_request(struct lws *wsi, struct kage_lws_session *session,
                         const struct kage_ws_handler *handler, void *user)
{
    struct kage_http_request request;
    struct request_text text = {0};

    if (!handler->on_request || session->reply || has_body(wsi)) {
        lws_return_http_status(
            wsi, handler->on_request ? HTTP_STATUS_REQ_ENTITY_TOO_LARGE : HTTP_STATUS_NOT_FOUND,
            NULL);
        return -1;
    }
    session->reply = kage_alloc(sizeof *session->reply);
    read_request(wsi, &request, &text);
    handler->on_request(&request, &session->reply->response, user);
    request_done(&text);
    if (send_header(wsi, &session->reply->response) < 0)
        return -1;
    lws_callback_on_writable(wsi);
    return 0;
}

int kage_http_on_writable(struct lws *wsi, struct kage_lws_session *session)
{
    unsigned char chunk[LWS_PRE + BODY_CHUNK];
    struct kage_http_reply *reply = session->reply;
    const struct kage_http_response *r;
    const char *body;
    size_t n;

    if (!reply)
        return 0;
    r = &reply->response;
    body = r->owned_body ? r->owned_body : r->body;
    n = r->len - reply->sent;
    if (n > BODY_CHUNK)
        n = BODY_CHUNK;
    if (n)
        memcpy(chunk + LWS_PRE, body + reply->sent, n);
    reply->sent += n;
    if (lws_write(wsi, chunk + LWS_PRE, n,
                  reply->sent == r->len ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) < 0)
        return -1;
    if (reply->sent < r->len) {
        lws_callback_on_writable(wsi);
        return 0;
    }
    kage_http_on_closed(session);
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

void kage_http_on_closed(struct kage_lws_session *session)
{
    if (!session || !session->reply)
        return;
    response_done(&session->reply->response);
    free(KAGE_TAKE(session->reply));
}

/* ---- upgrades ---- */

int kage_http_on_upgrade(struct lws *wsi, const struct kage_ws_handler *handler, void *user)
{
    struct kage_http_request request;
    struct request_text text = {0};
    unsigned refusal = 0;

    read_request(wsi, &request, &text);
    if (!request.origin && lws_hdr_total_length(wsi, WSI_TOKEN_SWORIGIN) > 0)
        request.origin = "?"; /* the header's name before RFC 6455 */
    if (handler->on_upgrade)
        refusal = handler->on_upgrade(&request, user);
    else if (handler->authorize && !handler->authorize(request.bearer, request.origin, user))
        refusal = HTTP_STATUS_UNAUTHORIZED;
    request_done(&text);
    if (!refusal)
        return 0;
    lws_return_http_status(wsi, refusal, NULL);
    return -1;
}
