#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Plain HTTP on a listener of ws.h, and what an upgrade to WebSocket asked for.
 * Small on purpose: no request bodies, no files, no compression; a handler that
 * leaves on_request out serves none of it and answers 404.
 */
enum kage_http_method {
    KAGE_HTTP_OTHER,
    KAGE_HTTP_GET,
    KAGE_HTTP_POST,
    KAGE_HTTP_METHOD_COUNT,
};

/* Headers are NULL when absent. A header that was sent twice comes as both values joined, so that
 * an exact comparison fails. All borrowed. */
struct kage_http_request {
    enum kage_http_method method;
    const char *path; /* without the query */
    bool has_query;
    const char *host, *origin, *cookie;
    const char *bearer; /* of "Authorization: Bearer …" */
};

struct kage_http_field {
    const char *name; /* static */
    char *value;      /* owned */
};

#define KAGE_HTTP_FIELDS_MAX 16

struct kage_http_response {
    unsigned status;
    const char *type; /* Content-Type, static */
    const void *body; /* borrowed until the listener is gone; or owned_body */
    char *owned_body;
    size_t len;
    struct kage_http_field fields[KAGE_HTTP_FIELDS_MAX];
    size_t n_fields;
};

/* `name` is static, in lower case and without the colon. */
void kage_http_add(struct kage_http_response *response, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
