#include "runner/image/download.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/lazy/curl.h"

/* Broken connections in a row without a byte in between, and all together. */
#define ATTEMPTS_IDLE 4
#define ATTEMPTS 20
#define REDIRECTS 10L
#define CONNECT_SECONDS 30L
/* Below one byte a second for so long is a dead peer. */
#define STALL_SECONDS 60L
#define BAR_EVERY_MS 100
#define BAR_WIDTH 24

struct transfer {
    struct kage_download *d;
    CURL *curl;
    char reason[CURL_ERROR_SIZE];
    char *validator;
    uint64_t start; /* bytes that were there before */
    uint64_t shown_ms, began_ms;
    bool too_big;
    int write_errno;
};

char *kage_download_shown(const char *url)
{
    CURLU *parts;
    char *text = NULL, *shown;

    if (kage_curl_load(NULL) < 0)
        return kage_strdup("(a URL)"); /* what needs the library next will say so */
    parts = curl_url();
    if (!parts || curl_url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) ||
        curl_url_set(parts, CURLUPART_USER, NULL, 0) ||
        curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0) ||
        curl_url_get(parts, CURLUPART_URL, &text, CURLU_NON_SUPPORT_SCHEME))
        shown = kage_strdup("(not a URL)");
    else
        shown = kage_printable(text, strlen(text));
    curl_free(text);
    curl_url_cleanup(parts);
    return shown;
}

int kage_download_check(const char *url, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *shown = NULL;

    if (!strncasecmp(url, "https://", 8) || !strncasecmp(url, "http://", 7))
        return 0;
    shown = kage_download_shown(url);
    return kage_error_set(err, KAGE_CLASS_IMAGE,
                          "images are downloaded only from https, not from %s", shown);
}

/* ---- what libcurl calls ---- */

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    size_t len = size * n, done = 0;

    if (len > t->d->max - t->d->have) {
        t->too_big = true;
        return 0;
    }
    while (done < len) {
        ssize_t w = write(t->d->fd, data + done, len - done);

        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) {
            t->write_errno = errno;
            return 0;
        }
        done += (size_t)w;
        t->d->have += (size_t)w;
    }
    return len;
}

/* Strong ETags only: a weak one does not promise the same bytes (RFC 9110, 13.1.5). */
static size_t on_header(char *data, size_t size, size_t n, void *user)
{
    static const char *const names[] = {"etag:", "last-modified:"};
    struct transfer *t = user;
    size_t len = size * n;

    if (len > 5 && !strncasecmp(data, "HTTP/", 5))
        kage_freep(&t->validator); /* of a redirect */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t skip = strlen(names[i]);
        const char *value = data + skip;

        if (len <= skip || len > 256 || strncasecmp(data, names[i], skip) != 0)
            continue;
        while (value < data + len && *value == ' ')
            value++;
        len -= (size_t)(value - data);
        while (len && (value[len - 1] == '\r' || value[len - 1] == '\n' || value[len - 1] == ' '))
            len--;
        if (!len || !strncmp(value, "W/", 2) || (i > 0 && t->validator))
            break;
        kage_freep(&t->validator);
        t->validator = kage_strndup(value, len);
        break;
    }
    return size * n;
}

static int on_progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up)
{
    struct transfer *t = user;
    uint64_t ms = kage_now_ms(), all = total > 0 ? (uint64_t)total + t->start : 0;
    uint64_t took = ms - t->began_ms;
    char bar[BAR_WIDTH + 1], text[256];
    int filled;

    if (!t->d->progress || now <= 0 || (ms - t->shown_ms < BAR_EVERY_MS && t->d->have != all))
        return 0;
    t->shown_ms = ms;
    filled = all ? (int)(t->d->have * BAR_WIDTH / all) : 0;
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    if (all)
        snprintf(text, sizeof text,
                 "\r[%s] %3" PRIu64 " %%  %" PRIu64 " of %" PRIu64 " MiB, %.1f MiB/s", bar,
                 t->d->have * 100 / all, t->d->have >> 20, all >> 20,
                 took ? (double)now / 1048.576 / (double)took : 0.0);
    else
        snprintf(text, sizeof text, "\r%" PRIu64 " MiB", t->d->have >> 20);
    t->d->progress(text, t->d->user);
    return 0;
}

/* ---- one transfer ---- */

static void allow_protocols(struct transfer *t)
{
    bool plain = !strncasecmp(t->d->url, "http:", 5);

#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
    curl_easy_setopt(t->curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
#else
    curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS,
                     (long)(CURLPROTO_HTTPS | (plain ? CURLPROTO_HTTP : 0)));
    curl_easy_setopt(t->curl, CURLOPT_REDIR_PROTOCOLS, (long)CURLPROTO_HTTPS);
#endif
}

static struct curl_slist *set_up(struct transfer *t)
{
    const char *certificates = getenv("SSL_CERT_FILE");
    struct curl_slist *headers = NULL;
    CURL *c = t->curl;

    curl_easy_setopt(c, CURLOPT_URL, t->d->url);
    allow_protocols(t);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, REDIRECTS);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)t->d->max);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "kage/" KAGE_VERSION);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->reason);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    /* Where else programs look for the certificates of a company's own authority. */
    if (certificates && *certificates)
        curl_easy_setopt(c, CURLOPT_CAINFO, certificates);
    if (t->start) {
        curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->start);
        if (t->d->validator) {
            KAGE_CLEANUP(kage_freep) char *line = kage_asprintf("If-Range: %s", t->d->validator);

            headers = curl_slist_append(NULL, line);
            curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
        }
    }
    return headers;
}

enum outcome { DONE, BROKEN, ANEW, FAILED };

/* The server has another file by now, or cannot give a part of one. */
static bool cannot_resume(CURLcode code, long status)
{
    return code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME ||
           (code == CURLE_HTTP_RETURNED_ERROR && status == 416);
}

static bool is_passing(CURLcode code, long status)
{
    switch (code) {
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    case CURLE_HTTP_RETURNED_ERROR:
        return status == 429 || status >= 500;
    default:
        return false;
    }
}

static int explain(const struct transfer *t, CURLcode code, long status, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *shown = kage_download_shown(t->d->url);
    KAGE_CLEANUP(kage_freep)
    char *reason = kage_printable(t->reason, strlen(t->reason));

    if (t->too_big || code == CURLE_FILESIZE_EXCEEDED)
        return kage_error_set(err, KAGE_CLASS_IMAGE,
                              "%s is larger than the %" PRIu64 " MiB that kage takes", shown,
                              t->d->max >> 20);
    if (t->write_errno)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, t->write_errno,
                                "cannot write what comes from %s", shown);
    if (code == CURLE_HTTP_RETURNED_ERROR)
        return kage_error_set(err, KAGE_CLASS_IMAGE, "cannot download %s: the server answers %ld",
                              shown, status);
    if (code == CURLE_UNSUPPORTED_PROTOCOL && status >= 300 && status < 400)
        return kage_error_set(err, KAGE_CLASS_IMAGE,
                              "cannot download %s: the server sends us on to an address that is "
                              "not https",
                              shown);
    return kage_error_set(err, KAGE_CLASS_IMAGE, "cannot download %s: %s", shown,
                          *reason ? reason : curl_easy_strerror(code));
}

static enum outcome transfer(struct kage_download *d, struct kage_error *err)
{
    struct transfer t = {.d = d, .start = d->have, .began_ms = kage_now_ms()};
    struct curl_slist *headers;
    enum outcome outcome = FAILED;
    long status = 0;
    CURLcode code;

    if (kage_curl_load(err) < 0)
        return FAILED;
    t.curl = curl_easy_init();
    if (!t.curl) {
        kage_error_set(err, KAGE_CLASS_INTERNAL, "libcurl does not start");
        return FAILED;
    }
    headers = set_up(&t);
    code = curl_easy_perform(t.curl);
    if (t.shown_ms)
        d->progress("\r", d->user);
    curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK) {
        outcome = DONE;
    } else {
        explain(&t, code, status, err);
        if (t.start && cannot_resume(code, status))
            outcome = ANEW;
        else if (is_passing(code, status))
            outcome = BROKEN;
    }
    if (t.validator) {
        kage_freep(&d->validator);
        d->validator = KAGE_TAKE(t.validator);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(t.curl);
    return outcome;
}

static int start_anew(struct kage_download *d, struct kage_error *err)
{
    if (ftruncate(d->fd, 0) < 0 || lseek(d->fd, 0, SEEK_SET) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot start a download anew");
    d->have = 0;
    kage_freep(&d->validator);
    return 0;
}

static void tell(const struct kage_download *d, const char *what)
{
    if (d->progress)
        d->progress(what, d->user);
}

int kage_download(struct kage_download *d, struct kage_error *err)
{
    struct kage_error why = KAGE_ERROR_INIT;
    int idle = 0, r = -1;

    if (kage_download_check(d->url, err) < 0)
        return -1;
    for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
        uint64_t before = d->have;
        enum outcome outcome = transfer(d, &why);

        if (outcome == DONE) {
            kage_error_done(&why);
            return 0;
        }
        idle = d->have > before ? 1 : idle + 1;
        if (outcome == FAILED || idle >= ATTEMPTS_IDLE)
            break;
        if (outcome == ANEW) {
            r = start_anew(d, err);
            if (r < 0)
                break;
            continue;
        }
        tell(d, "the connection broke; trying again");
        nanosleep(&(struct timespec){.tv_sec = idle}, NULL);
    }
    if (err) {
        kage_error_done(err);
        *err = why;
    } else {
        kage_error_done(&why);
    }
    return -1;
}
