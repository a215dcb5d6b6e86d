#pragma once

#include <stdbool.h>

#include "common/base/error.h"
#include "runner/image/manifest.h"
#include "runner/image/store.h"
#include "runner/spec/spec.h"

/* The embedded image: one of kage's own kernels, vmd and a busybox user space. Images that bring no
 * kernel boot with its. */

/* Its folder in the store: tiny-ID, or tiny-lean-ID with the lean kernel, where ID stands for this
 * build's vmd, sandbox-helper and image-builder. Owned. */
char *kage_tiny_folder(const struct kage_store *store, enum kage_own_kernel kernel);

/* The kernel for what does not say: the one `kage image build --kernel` was last told, or stock. */
enum kage_own_kernel kage_tiny_default(const struct kage_store *store);

/* Remembers that kernel. Call with the lock held. */
int kage_tiny_set_default(const struct kage_store *store, enum kage_own_kernel kernel,
                          struct kage_error *err);

/* `first` if it names a kernel, else what an image's manifest says (NULL for an image without),
 * else the default. Never KAGE_OWN_KERNEL_ANY. */
enum kage_own_kernel kage_tiny_kernel(const struct kage_store *store, enum kage_own_kernel first,
                                      const struct kage_manifest *image);

/* Finds the image, or builds it; `rebuild` builds in any case, and a lean kernel anew if there is a
 * newer source. `kernel` is not KAGE_OWN_KERNEL_ANY. Returns its folder (owned) or NULL, and what
 * its manifest says. */
char *kage_tiny_resolve(struct kage_store *store, enum kage_own_kernel kernel, bool rebuild,
                        kage_image_progress *progress, void *user, struct kage_manifest *manifest,
                        struct kage_error *err);
