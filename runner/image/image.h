#pragma once

#include "common/base/error.h"
#include "runner/spec/spec.h"

/* Files a VM boots from. Paths are absolute and owned. */
struct kage_image_files {
    char *kernel;
    char *initrd;  /* NULL when a custom kernel has none */
    char *rootfs;  /* NULL for images that live in the initrd; else the next two are set */
    int rootfs_fd; /* open for reading: what was looked at is what QEMU gets */
    const char *rootfs_format; /* QEMU's driver: "raw" or "qcow2"; static */
    char *digest;              /* of everything above, for reports: "sha256:…" */
};

/* Finds the image in the store under the user's cache folder, building the embedded image `tiny`
 * on first use; `progress` (may be NULL) is told each stage in a short clause. Errors have class
 * image and say what to do. */
int kage_image_resolve(const struct kage_spec_image *image, enum kage_arch arch,
                       void (*progress)(const char *what, void *user), void *user,
                       struct kage_image_files *ret, struct kage_error *err);
void kage_image_files_done(struct kage_image_files *files);
