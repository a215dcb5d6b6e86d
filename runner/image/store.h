#pragma once

#include <stdbool.h>

#include "common/base/error.h"

/*
 * The image store: folders under the user's cache folder that only the user can
 * enter.
 *
 *   ${XDG_CACHE_HOME:-~/.cache}/kage/
 *     images/NAME-ID/   kernel, initrd, manifest.json; complete or not there
 *     images/.new-…     being built, or left by a build that was killed
 *     parts/            what came out of distribution packages
 *     kernels/DIGEST/   kernels of users, unpacked
 *     lean/VERSION-ID/  lean kernels
 *     downloads/KEY/    rootfs and manifest.json of what came from a URL
 *     own-kernel        which of kage's kernels boots images that do not say; stock if absent
 *     lock              held by whoever changes any of these
 */
struct kage_store {
    char *root; /* the cache folder itself */
    char *images, *parts, *kernels, *lean, *downloads;
    char *own_kernel_path, *lock_path;
    int lock_fd; /* -1 while not held */
};

#define KAGE_STORE_ID 16

/* Told each stage in a short clause; one that begins with '\r' is a bar, see progress.h. */
typedef void kage_image_progress(const char *what, void *user);

#define KAGE_STORE_INIT                                                                            \
    {                                                                                              \
        .lock_fd = -1                                                                              \
    }

/* Makes the folders that are missing. Refuses a cache folder that belongs to someone else. */
int kage_store_open(struct kage_store *ret, struct kage_error *err);
void kage_store_done(struct kage_store *store);

/* The same without making anything: only for looking at what may be there. Fails where
 * kage_store_open() would because of a folder that is there and not ours. */
int kage_store_look(struct kage_store *ret, struct kage_error *err);

/* The last folder on the way to an absolute path that is there. Owned. */
char *kage_store_deepest(const char *path);

/* A folder beside those, made when it is missing, for something else that is kept between runs.
 * Owned; NULL with err set. */
char *kage_cache_folder(const char *name, struct kage_error *err);

/* Waits for the lock; the kernel drops it when kage ends, however that happens. */
int kage_store_lock(struct kage_store *store, kage_image_progress *progress, void *user,
                    struct kage_error *err);
void kage_store_unlock(struct kage_store *store);

/* A new empty folder `.new-…` in `folder`; owned. NULL with err set. */
char *kage_store_workplace(const char *folder, struct kage_error *err);

/* Writes `work` to disk, then renames it to `path`, in place of what may be there. */
int kage_store_commit(const char *work, const char *path, struct kage_error *err);

/* Removes a folder and all that is in it, without following links. 0 when it is not there. */
int kage_store_remove(const char *path, struct kage_error *err);

/* Is `folder` named NAME-ID, where ID is KAGE_STORE_ID hex digits? */
bool kage_store_is_named(const char *folder, const char *name);

/* Removes what killed builds left in `folder`, and of the folders named `name`-ID (with NULL, all)
 * those that have long not been used; never `keep`. Call with the lock held. */
void kage_store_prune(const char *folder, const char *name, const char *keep);

/* Marks a folder as used now. */
void kage_store_touch(const char *path);
