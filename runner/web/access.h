#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct kage_http_request;

/*
 * Who may use the web terminal.
 *
 * The address that kage prints ends in "#SECRET". A fragment never leaves the browser by itself,
 * so it is in no request, no Referer and no log; the page's script sends it once, as a bearer
 * token, and gets two things for it:
 *
 *   a cookie   HttpOnly and SameSite=Strict, which no script can read
 *   a key      which the script keeps in the storage of this origin, port included
 *
 * A WebSocket needs both. The cookie alone would not do: browsers send the cookies of 127.0.0.1 to
 * every port there, so to every server that some other user of this machine runs. The key alone
 * would not do either: a script that got into the page could carry it away.
 *
 * Host and Origin are compared with the one address that is served, byte for byte. That refuses
 * rebound names, "localhost", null origins and other ports alike.
 */
#define KAGE_WEB_SECRET 64u /* 256 bits in hexadecimal digits */

struct kage_web_access {
    char host[24], origin[32], cookie_name[16];
    char secret[KAGE_WEB_SECRET + 1]; /* empty once it has been used */
    char session[KAGE_WEB_SECRET + 1];
    char key[KAGE_WEB_SECRET + 1];
};

int kage_web_access_init(struct kage_web_access *access, uint16_t port, struct kage_error *err);
void kage_web_access_done(struct kage_web_access *access);

/* Makes a new one-time secret in place of the old one. */
int kage_web_access_renew(struct kage_web_access *access, struct kage_error *err);

bool kage_web_host_ok(const struct kage_web_access *access,
                      const struct kage_http_request *request);
bool kage_web_origin_ok(const struct kage_web_access *access,
                        const struct kage_http_request *request);
bool kage_web_has_session(const struct kage_web_access *access,
                          const struct kage_http_request *request);

/* Whether the request brings the secret, which is then used up. */
bool kage_web_use_secret(struct kage_web_access *access, const struct kage_http_request *request);
bool kage_web_key_ok(const struct kage_web_access *access, const void *key, size_t len);
