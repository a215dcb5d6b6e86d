#include "runner/web/access.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/loop/http.h"

static int make_secret(char out[KAGE_WEB_SECRET + 1], struct kage_error *err)
{
    unsigned char raw[KAGE_WEB_SECRET / 2];

    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot get random bytes");
    for (size_t i = 0; i < sizeof raw; i++)
        sprintf(out + 2 * i, "%02x", raw[i]);
    explicit_bzero(raw, sizeof raw);
    return 0;
}

/* Takes as long whatever differs. The length of a secret is no secret. */
static bool same_secret(const char *secret, const void *given, size_t len)
{
    const unsigned char *a = (const unsigned char *)secret, *b = given;
    unsigned char differ = 0;

    if (len != KAGE_WEB_SECRET || !*secret)
        return false;
    for (size_t i = 0; i < len; i++)
        differ |= (unsigned char)(a[i] ^ b[i]);
    return differ == 0;
}

int kage_web_access_init(struct kage_web_access *a, uint16_t port, struct kage_error *err)
{
    *a = (struct kage_web_access){0};
    /* A browser leaves the port out where it is the scheme's own. */
    if (port == 80)
        strcpy(a->host, "127.0.0.1");
    else
        snprintf(a->host, sizeof a->host, "127.0.0.1:%u", port);
    snprintf(a->origin, sizeof a->origin, "http://%s", a->host);
    snprintf(a->cookie_name, sizeof a->cookie_name, "kage-%u", port);
    if (make_secret(a->secret, err) < 0 || make_secret(a->session, err) < 0 ||
        make_secret(a->key, err) < 0)
        return -1;
    return 0;
}

void kage_web_access_done(struct kage_web_access *a)
{
    explicit_bzero(a, sizeof *a);
}

int kage_web_access_renew(struct kage_web_access *a, struct kage_error *err)
{
    return make_secret(a->secret, err);
}

bool kage_web_host_ok(const struct kage_web_access *a, const struct kage_http_request *request)
{
    return request->host && !strcmp(request->host, a->host);
}

bool kage_web_origin_ok(const struct kage_web_access *a, const struct kage_http_request *request)
{
    return request->origin && !strcmp(request->origin, a->origin);
}

bool kage_web_has_session(const struct kage_web_access *a, const struct kage_http_request *request)
{
    size_t name_len = strlen(a->cookie_name);
    const char *p = request->cookie;

    while (p && *p) {
        size_t len;

        p += strspn(p, "; ");
        len = strcspn(p, ";");
        if (len > name_len && !strncmp(p, a->cookie_name, name_len) && p[name_len] == '=' &&
            same_secret(a->session, p + name_len + 1, len - name_len - 1))
            return true;
        p += len;
    }
    return false;
}

bool kage_web_use_secret(struct kage_web_access *a, const struct kage_http_request *request)
{
    if (!request->bearer || !same_secret(a->secret, request->bearer, strlen(request->bearer)))
        return false;
    explicit_bzero(a->secret, sizeof a->secret);
    return true;
}

bool kage_web_key_ok(const struct kage_web_access *a, const void *key, size_t len)
{
    return same_secret(a->key, key, len);
}
