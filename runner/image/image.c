#include "runner/image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/image/built.h"
#include "runner/image/digest.h"
#include "runner/image/kernel.h"
#include "runner/image/parts.h"
#include "runner/image/remote.h"
#include "runner/image/rootfs.h"
#include "runner/image/store.h"
#include "runner/image/tiny.h"
#include "runner/image/verified.h"

struct request {
    const struct kage_spec_image *image;
    enum kage_arch arch;
    kage_image_progress *progress;
    void *user;
};

/* What the name leads to may change until QEMU opens it; that only ever concerns files the user
 * named. */
int kage_image_require_file(const char *what, const char *path, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *text = kage_printable(path, strlen(path));
    /* O_NONBLOCK: opening a FIFO must not wait for its writer. */
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read the %s '%s'", what,
                                text);
    if (!S_ISREG(st.st_mode))
        return kage_error_set(err, KAGE_CLASS_IMAGE, "the %s '%s' is not a file", what, text);
    return 0;
}

/* tiny holds the vmd that was built with this kage, for the architecture it was built for. */
int kage_image_require_own_arch(enum kage_arch arch, struct kage_error *err)
{
#if defined __x86_64__
    const enum kage_arch own = KAGE_ARCH_X86_64;
#else
    const enum kage_arch own = KAGE_ARCH_AARCH64;
#endif

    if (arch == own || arch == KAGE_ARCH_HOST)
        return 0;
    return kage_error_set(err, KAGE_CLASS_IMAGE,
                          "kage's own image exists for this machine's architecture only, not for "
                          "%s; give a kernel and an initrd with `image: {kernel: …, initrd: …}`",
                          arch == KAGE_ARCH_X86_64 ? "x86_64" : "aarch64");
}

static int find_tiny(const struct request *r, struct kage_store *store, enum kage_own_kernel kernel,
                     struct kage_image_files *files, struct kage_manifest *manifest,
                     struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *folder = NULL;

    if (kage_image_require_own_arch(r->arch, err) < 0)
        return -1;
    folder = kage_tiny_resolve(store, kernel, false, r->progress, r->user, manifest, err);
    if (!folder)
        return -1;
    files->kernel = kage_asprintf("%s/kernel", folder);
    files->initrd = kage_asprintf("%s/initrd", folder);
    files->digest = kage_manifest_digest(manifest->kernel.sha256, manifest->initrd.sha256);
    return 0;
}

/* `image` is the manifest of what boots with it, or NULL. */
static int resolve_tiny(const struct request *r, struct kage_store *store,
                        const struct kage_manifest *image, struct kage_image_files *files,
                        struct kage_error *err)
{
    enum kage_own_kernel kernel = kage_tiny_kernel(store, r->image->own_kernel, image);
    struct kage_manifest manifest = {0};
    int result = find_tiny(r, store, kernel, files, &manifest, err);

    kage_manifest_done(&manifest);
    return result;
}

/* The initrd that goes with a user's kernel: the user's, or tiny's, of which modules that do not
 * fit the kernel are passed over by vmd. */
static int choose_initrd(const struct request *r, struct kage_store *store,
                         struct kage_image_files *files, char sha256[KAGE_SHA256_HEX + 1],
                         struct kage_error *err)
{
    struct kage_image_files tiny = {0};
    struct kage_manifest manifest = {0};
    int result;

    if (r->image->initrd) {
        if (kage_image_require_file("initrd", r->image->initrd, err) < 0)
            return -1;
        files->initrd = kage_strdup(r->image->initrd);
        return kage_sha256_file(files->initrd, sha256, err);
    }
    /* The stock one: only that has modules, and a distribution's kernel may be what they fit. */
    result = find_tiny(r, store, KAGE_OWN_KERNEL_STOCK, &tiny, &manifest, err);
    if (result == 0) {
        files->initrd = KAGE_TAKE(tiny.initrd);
        memcpy(sha256, manifest.initrd.sha256, sizeof manifest.initrd.sha256);
    }
    kage_image_files_done(&tiny);
    kage_manifest_done(&manifest);
    return result;
}

static int resolve_kernel(const struct request *r, struct kage_store *store,
                          struct kage_image_files *files, struct kage_error *err)
{
    char kernel_sha256[KAGE_SHA256_HEX + 1], initrd_sha256[KAGE_SHA256_HEX + 1];

    if (kage_image_require_file("kernel", r->image->kernel, err) < 0 ||
        choose_initrd(r, store, files, initrd_sha256, err) < 0 ||
        kage_sha256_file(r->image->kernel, kernel_sha256, err) < 0)
        return -1;
    files->kernel = kage_kernel_prepare(store, r->image->kernel, r->arch, kernel_sha256,
                                        r->progress, r->user, err);
    if (!files->kernel)
        return -1;
    files->digest = kage_manifest_digest(kernel_sha256, initrd_sha256);
    return 0;
}

static int use_rootfs(const char *path, struct kage_image_files *files, struct kage_error *err)
{
    struct kage_rootfs rootfs;

    if (kage_rootfs_open(path, &rootfs, err) < 0)
        return -1;
    files->rootfs = kage_strdup(path);
    files->rootfs_fd = rootfs.fd;
    files->rootfs_format = rootfs.format;
    return 0;
}

int kage_image_require_digest(const char *digest, const char *path, int fd, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(path, strlen(path));
    char hex[KAGE_SHA256_HEX + 1];

    if (kage_sha256_fd(fd, name, hex, err) < 0)
        return -1;
    if (!strncmp(digest, "sha256:", 7) && !strcmp(digest + 7, hex))
        return 0;
    return kage_error_set(err, KAGE_CLASS_IMAGE,
                          "'%s' does not have the digest the spec gives: it has sha256:%s", name,
                          hex);
}

/* A root file system of the store, with kage's own kernel. */
static int use_stored(const struct request *r, struct kage_store *store, const char *folder,
                      const struct kage_manifest *manifest, struct kage_image_files *files,
                      struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/rootfs", folder);
    KAGE_CLEANUP(kage_freep) char *boot = NULL;

    if (use_rootfs(path, files, err) < 0)
        return -1;
    if (kage_verified(files->rootfs_fd, path, manifest->rootfs.sha256, err) < 0)
        return kage_error_wrap(err, "the image must be made anew (`kage image build %s`)",
                               manifest->name);
    if (resolve_tiny(r, store, manifest, files, err) < 0)
        return -1;
    boot = KAGE_TAKE(files->digest);
    files->digest = kage_manifest_digest(boot, manifest->rootfs.sha256);
    return 0;
}

static int resolve_named(const struct request *r, struct kage_store *store,
                         struct kage_image_files *files, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    struct kage_manifest manifest = {0};
    int result;

    if (!strcmp(r->image->name, "tiny"))
        return resolve_tiny(r, store, NULL, files, err);
    folder = kage_built_resolve(store, r->image->name, r->progress, r->user, &manifest, err);
    result = folder ? use_stored(r, store, folder, &manifest, files, err) : -1;
    kage_manifest_done(&manifest);
    return result;
}

static int resolve_url(const struct request *r, struct kage_store *store,
                       struct kage_image_files *files, struct kage_error *err)
{
    struct kage_remote remote = {.url = r->image->url, .digest = r->image->digest};
    struct kage_manifest manifest = {0};
    KAGE_CLEANUP(kage_freep)
    char *folder = kage_remote_resolve(store, &remote, r->progress, r->user, &manifest, err);
    int result = folder ? use_stored(r, store, folder, &manifest, files, err) : -1;

    kage_manifest_done(&manifest);
    return result;
}

static int resolve(const struct request *r, struct kage_store *store,
                   struct kage_image_files *files, struct kage_error *err)
{
    int result = -1;

    switch (r->image->form) {
    case KAGE_IMAGE_STORE:
        return resolve_named(r, store, files, err);
    case KAGE_IMAGE_KERNEL:
        result = resolve_kernel(r, store, files, err);
        if (result == 0 && r->image->rootfs)
            result = use_rootfs(r->image->rootfs, files, err);
        return result;
    case KAGE_IMAGE_PATH:
        result = use_rootfs(r->image->path, files, err);
        if (result == 0 && r->image->digest)
            result =
                kage_image_require_digest(r->image->digest, files->rootfs, files->rootfs_fd, err);
        break;
    case KAGE_IMAGE_URL:
        return resolve_url(r, store, files, err);
    }
    if (result == 0)
        result = resolve_tiny(r, store, NULL, files, err);
    return result;
}

int kage_image_resolve(const struct kage_spec_image *image, enum kage_arch arch,
                       void (*progress)(const char *what, void *user), void *user,
                       struct kage_image_files *ret, struct kage_error *err)
{
    struct request request = {image, arch, progress, user};
    struct kage_error own = KAGE_ERROR_INIT;
    struct kage_store store = KAGE_STORE_INIT;
    struct kage_image_files files = {0};
    int r = kage_store_open(&store, &own);

    if (r == 0)
        r = resolve(&request, &store, &files, &own);
    kage_store_done(&store);
    if (r < 0) {
        kage_image_files_done(&files);
        if (err) {
            kage_error_done(err);
            *err = own;
            if (!err->loc.line)
                err->loc = image->loc;
        } else {
            kage_error_done(&own);
        }
        return -1;
    }
    *ret = files;
    return 0;
}

void kage_image_files_done(struct kage_image_files *files)
{
    kage_freep(&files->kernel);
    kage_freep(&files->initrd);
    if (files->rootfs)
        close(files->rootfs_fd);
    kage_freep(&files->rootfs);
    kage_freep(&files->digest);
}
