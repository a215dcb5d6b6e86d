#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "runner/image/digest.h"

/* manifest.json of an image, as image-builder writes it. */
struct kage_manifest_file {
    uint64_t size;
    char sha256[KAGE_SHA256_HEX + 1];
};

struct kage_manifest {
    char *name, *arch;
    char *packages; /* what it was made from: "name=version …" */
    char *from;     /* where they, or the whole image, came from; may be NULL */
    char *boots;    /* which of kage's own kernels it boots with, if it says: "stock" or "lean" */
    /* Either kernel and initrd are there, or rootfs; what is not has an empty sha256. */
    struct kage_manifest_file kernel, initrd, rootfs;
};

/* Reads `folder`/manifest.json and checks that the files it tells of are there with their sizes. */
int kage_manifest_read(const char *folder, struct kage_manifest *ret, struct kage_error *err);
void kage_manifest_done(struct kage_manifest *manifest);

/* One digest for the whole image: the SHA-256 of its files' digests. "sha256:…", owned. */
char *kage_manifest_digest(const char *kernel_sha256, const char *initrd_sha256);

/* Reads every byte and compares digests. */
int kage_manifest_verify(const char *folder, const struct kage_manifest *manifest,
                         struct kage_error *err);
