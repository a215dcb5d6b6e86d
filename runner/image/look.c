#include "runner/image/look.h"

#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/image/builder.h"
#include "runner/image/built.h"
#include "runner/image/download.h"
#include "runner/image/kernel.h"
#include "runner/image/manifest.h"
#include "runner/image/parts.h"
#include "runner/image/remote.h"
#include "runner/image/rootfs.h"
#include "runner/image/store.h"
#include "runner/image/tiny.h"
#include "runner/image/verified.h"

/* What the images take in the cache, rounded up from 45 and 151 MiB for Debian 12. */
#define TINY_SPACE (UINT64_C(64) << 20)
#define LEAN_SPACE (UINT64_C(1280) << 20) /* while it is compiled */
#define ROOTFS_SPACE (UINT64_C(256) << 20)

static int look_at_tiny(const struct kage_store *store, enum kage_arch arch,
                        enum kage_own_kernel kernel, struct kage_image_view *view,
                        struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *folder = kage_tiny_folder(store, kernel);
    struct kage_manifest manifest = {0};
    struct kage_builder builder = {0};

    if (kage_image_require_own_arch(arch, err) < 0)
        return -1;
    if (kage_manifest_read(folder, &manifest, NULL) == 0) {
        kage_manifest_done(&manifest);
        return 0;
    }
    if (kage_builder_find(&builder, err) < 0)
        return -1;
    kage_builder_done(&builder);
    view->build = true;
    view->compile = kernel == KAGE_OWN_KERNEL_LEAN;
    view->space += kernel == KAGE_OWN_KERNEL_LEAN ? LEAN_SPACE : TINY_SPACE;
    return 0;
}

static int look_at_rootfs(const char *path, const char *digest, struct kage_error *err)
{
    struct kage_rootfs rootfs;
    int r = 0;

    if (kage_rootfs_open(path, &rootfs, err) < 0)
        return -1;
    if (digest)
        r = kage_image_require_digest(digest, path, rootfs.fd, err);
    close(rootfs.fd);
    return r;
}

/* A root file system of the store; damaged ones from a URL are downloaded again, others are not. */
static int look_at_stored(const char *folder, const struct kage_manifest *manifest,
                          struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/rootfs", folder);
    struct kage_rootfs rootfs;
    int r;

    if (kage_rootfs_open(path, &rootfs, err) < 0)
        return -1;
    r = kage_verified(rootfs.fd, path, manifest->rootfs.sha256, err);
    close(rootfs.fd);
    return r;
}

/* Tells which kernel it boots with. */
static int look_at_built(const struct kage_store *store, const struct kage_spec_image *image,
                         enum kage_own_kernel *kernel, struct kage_image_view *view,
                         struct kage_error *err)
{
    const char *name = kage_built_full_name(image->name);
    struct kage_manifest manifest = {0};
    KAGE_CLEANUP(kage_freep)
    char *folder = kage_built_name_valid(name) ? kage_built_find(store, name, &manifest) : NULL;
    int r;

    if (folder) {
        r = look_at_stored(folder, &manifest, err);
        *kernel = kage_tiny_kernel(store, image->own_kernel, &manifest);
        kage_manifest_done(&manifest);
        return r < 0 ? kage_error_wrap(err, "the image must be made anew (`kage image build %s`)",
                                       name)
                     : 0;
    }
    if (kage_built_require_recipe(name, err) < 0)
        return -1;
    view->build = view->build_rootfs = true;
    view->space += ROOTFS_SPACE;
    return 0;
}

static int look_at_url(const struct kage_store *store, const struct kage_spec_image *image,
                       struct kage_image_view *view, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *folder = kage_remote_folder(store, image->url, image->digest);
    struct kage_manifest manifest = {0};
    bool there;

    if (kage_download_check(image->url, err) < 0)
        return -1;
    there = kage_manifest_read(folder, &manifest, NULL) == 0 &&
            look_at_stored(folder, &manifest, NULL) == 0;
    kage_manifest_done(&manifest);
    view->download = !there;
    return 0;
}

static int look_at_kernel(const struct kage_spec_image *image, enum kage_arch arch,
                          struct kage_error *err)
{
    enum kage_kernel_kind kind;

    if (kage_image_require_file("kernel", image->kernel, err) < 0 ||
        (image->initrd && kage_image_require_file("initrd", image->initrd, err) < 0) ||
        (image->rootfs && look_at_rootfs(image->rootfs, NULL, err) < 0))
        return -1;
    return kage_kernel_require(image->kernel, arch, &kind, err);
}

static int look(const struct kage_store *store, const struct kage_spec_image *image,
                enum kage_arch arch, struct kage_image_view *view, struct kage_error *err)
{
    enum kage_own_kernel kernel = kage_tiny_kernel(store, image->own_kernel, NULL);
    int r = 0;

    switch (image->form) {
    case KAGE_IMAGE_STORE:
        if (strcmp(image->name, "tiny") != 0)
            r = look_at_built(store, image, &kernel, view, err);
        break;
    case KAGE_IMAGE_URL:
        r = look_at_url(store, image, view, err);
        break;
    case KAGE_IMAGE_PATH:
        r = look_at_rootfs(image->path, image->digest, err);
        break;
    case KAGE_IMAGE_KERNEL:
        r = look_at_kernel(image, arch, err);
        if (r < 0 || image->initrd)
            return r;
        kernel = KAGE_OWN_KERNEL_STOCK; /* its initrd, as image.c takes it */
        break;
    }
    /* All others boot with kage's own kernel or initrd. */
    return r < 0 ? r : look_at_tiny(store, arch, kernel, view, err);
}

int kage_image_look(const struct kage_spec_image *image, enum kage_arch arch,
                    struct kage_image_view *ret, struct kage_error *err)
{
    struct kage_store store = KAGE_STORE_INIT;
    struct kage_image_view view = {0};
    struct statvfs fs;
    int r;

    if (kage_store_look(&store, err) < 0)
        return -1;
    r = look(&store, image, arch, &view, err);
    if (r == 0) {
        view.cache = kage_strdup(store.root);
        KAGE_CLEANUP(kage_freep) char *there = kage_store_deepest(store.root);

        view.free = statvfs(there, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
        *ret = view;
    }
    kage_store_done(&store);
    return r;
}

void kage_image_view_done(struct kage_image_view *view)
{
    kage_freep(&view->cache);
}
