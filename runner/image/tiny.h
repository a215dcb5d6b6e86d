#pragma once

#include <stdbool.h>

#include "common/base/error.h"
#include "runner/image/manifest.h"
#include "runner/image/store.h"

/* The embedded image: kage's own kernel, vmd and a busybox user space. */

/* Its folder in the store: tiny-ID, where ID stands for this build's vmd, sandbox-helper and
 * image-builder. Owned. */
char *kage_tiny_folder(const struct kage_store *store);

/* Finds the image, or builds it; `rebuild` builds in any case. Returns its folder (owned) or NULL,
 * and what its manifest says. */
char *kage_tiny_resolve(struct kage_store *store, bool rebuild, kage_image_progress *progress,
                        void *user, struct kage_manifest *manifest, struct kage_error *err);
