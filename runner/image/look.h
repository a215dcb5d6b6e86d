#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "runner/spec/spec.h"

/* What kage_image_resolve() would have to do before an image can be used. */
struct kage_image_view {
    bool compile;      /* a lean kernel as well, which takes minutes */
    bool build;        /* from Debian packages, which are downloaded: kage's own image at least */
    bool build_rootfs; /* the image by its name */
    bool download;     /* the image itself */
    char *cache;       /* the folder this goes to; owned */
    uint64_t space;    /* bytes it takes there, about; 0: none, or nobody knows */
    uint64_t free;     /* bytes there; UINT64_MAX: unknown */
};

/* Looks at what is there; makes and downloads nothing. Fails, as resolving would, with class image
 * and what to do, when it can tell that the image cannot be had. Reads all of a file that has a
 * digest, as a run does. */
int kage_image_look(const struct kage_spec_image *image, enum kage_arch arch,
                    struct kage_image_view *ret, struct kage_error *err);
void kage_image_view_done(struct kage_image_view *view);
