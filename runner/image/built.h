#pragma once

#include <stdbool.h>

#include "common/base/error.h"
#include "runner/image/manifest.h"
#include "runner/image/store.h"

/*
 * Images built from a recipe: a root file system made of a distribution's
 * packages, which boots with tiny's kernel and initramfs. In the store each is
 * NAME-ID, where ID begins its digest; of several with one name the one that
 * was built last counts.
 */

/* A name that an image can have: lower-case letters, digits, '.' and '-'. */
bool kage_built_name_valid(const char *name);

/* The full name of kage's own recipes that have a short one: debian is debian-12. */
const char *kage_built_full_name(const char *name);

/* The image's folder (owned), and what its manifest says; NULL when there is none. */
char *kage_built_find(const struct kage_store *store, const char *name,
                      struct kage_manifest *manifest);

struct kage_built_order {
    const char *name;
    const char *recipe;         /* a file; NULL for kage's own recipe of that name */
    const char *mirror, *suite; /* instead of the recipe's; may be NULL */
    const char *boots;          /* which of kage's own kernels it is for; NULL for the default */
    bool if_missing;            /* take one that somebody else has built in the meantime */
};

/* Builds it, in the place of what there was; waits for another kage that prepares an image. Returns
 * its folder (owned), or NULL with err set. */
char *kage_built_build(struct kage_store *store, const struct kage_built_order *order,
                       kage_image_progress *progress, void *user, struct kage_manifest *manifest,
                       struct kage_error *err);

/* Whether kage has a recipe of that (full) name; err says which it has. */
int kage_built_require_recipe(const char *name, struct kage_error *err);

/* Finds the image, or builds it if kage has a recipe of that name. */
char *kage_built_resolve(struct kage_store *store, const char *name, kage_image_progress *progress,
                         void *user, struct kage_manifest *manifest, struct kage_error *err);
