#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "runner/image/manifest.h"
#include "runner/image/store.h"

/*
 * Images from a URL. They lie in downloads/KEY, where KEY is the digest that was
 * asked for, or comes from the URL if none was. A file that is on its way is
 * downloads/.part-KEY; its lock says that somebody is at it, others wait and
 * then use what came.
 */
#define KAGE_REMOTE_MAX (64ull << 30)

struct kage_remote {
    const char *url;
    const char *digest; /* "sha256:…"; NULL takes what comes */
    uint64_t max;       /* bytes; 0 for KAGE_REMOTE_MAX */
    bool anew;          /* download also what is there */
};

/* Finds or downloads it. Returns its folder (owned) with the manifest, or NULL with err set. */
char *kage_remote_resolve(struct kage_store *store, const struct kage_remote *remote,
                          kage_image_progress *progress, void *user, struct kage_manifest *manifest,
                          struct kage_error *err);

/* The folder where it is, if it is there. Owned; never NULL. */
char *kage_remote_folder(const struct kage_store *store, const char *url, const char *digest);
