#pragma once

#include "common/base/error.h"
#include "runner/image/store.h"

/* Where the programs that make images are, next to the running kage: in its build folder or
 * where it was installed. */
struct kage_builder {
    char *scripts; /* folder of build-tiny, unpack-kernel, … */
    char *vmd, *sandbox_helper;
};

int kage_builder_find(struct kage_builder *ret, struct kage_error *err);
void kage_builder_done(struct kage_builder *builder);

/* Runs argv[0] to its end. Lines that it writes to descriptor 3 go to `progress`; when it fails,
 * the end of what it wrote to standard error becomes the error. */
int kage_builder_run(const char *const argv[], kage_image_progress *progress, void *user,
                     struct kage_error *err);
