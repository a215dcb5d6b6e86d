#pragma once

#include <stdbool.h>

#include "common/base/error.h"
#include "runner/image/store.h"
#include "runner/spec/spec.h"

enum kage_kernel_kind {
    KAGE_KERNEL_OTHER,   /* for QEMU to judge */
    KAGE_KERNEL_BZIMAGE, /* x86, packed */
    KAGE_KERNEL_PVH,     /* x86 ELF with an entry point QEMU can use */
    KAGE_KERNEL_ELF,     /* x86 ELF without one */
    KAGE_KERNEL_KIND_COUNT,
};

/* What kind of kernel `path` is, by its first bytes and its ELF notes. */
int kage_kernel_kind(const char *path, enum kage_kernel_kind *ret, struct kage_error *err);

/* The same for a kernel that is to boot a guest of `arch`: refuses what cannot be booted. */
int kage_kernel_require(const char *path, enum kage_arch arch, enum kage_kernel_kind *ret,
                        struct kage_error *err);

/* The form of the user's kernel that boots fastest: a bzImage is unpacked into the store, once per
 * content, if what is in it can be entered by PVH. Owned; NULL with err set. */
char *kage_kernel_prepare(struct kage_store *store, const char *path, enum kage_arch arch,
                          const char *sha256, kage_image_progress *progress, void *user,
                          struct kage_error *err);
