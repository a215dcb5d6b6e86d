#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "runner/image/store.h"

struct kage_sha256;

/*
 * One file from an https server into an open file. The adapter around libcurl:
 * certificates are checked, redirects lead to https only, nothing else than the
 * body is taken, and never more than `max` bytes of it. A connection that breaks
 * is taken up where it broke if the server can do that.
 */
struct kage_download {
    const char *url;  /* https:, or http: where the caller can do without secrecy */
    int fd;           /* written from its position on */
    uint64_t have;    /* bytes that are there from an earlier download of the same; updated */
    char *validator;  /* owned: the ETag or date that belongs to those bytes; updated */
    uint64_t max;     /* bytes */
    const char *what; /* how progress calls it */
    kage_image_progress *progress;
    void *user;
};

/* Is the URL one that kage downloads from? Sets err if not. */
int kage_download_check(const char *url, struct kage_error *err);

/* Returns 0 when all is there. On failure what has come stays in the file, and `have` says how much
 * that is. When the server has something else than what is there, it starts anew. */
int kage_download(struct kage_download *d, struct kage_error *err);

/* The URL without a name and password in it, for messages and files. Owned. */
char *kage_download_shown(const char *url);
