#include "runner/image/tiny.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "image_id.h"
#include "runner/image/builder.h"
#include "runner/plan/plan.h"

/* Folders are named after it. */
static const char *name_with(enum kage_own_kernel kernel)
{
    return kernel == KAGE_OWN_KERNEL_LEAN ? "tiny-lean" : "tiny";
}

char *kage_tiny_folder(const struct kage_store *store, enum kage_own_kernel kernel)
{
    return kage_asprintf("%s/%s-" KAGE_TINY_ID, store->images, name_with(kernel));
}

enum kage_own_kernel kage_tiny_default(const struct kage_store *store)
{
    KAGE_CLEANUP(kage_closep) int fd = open(store->own_kernel_path, O_RDONLY | O_CLOEXEC);
    char word[16] = "";
    ssize_t n = fd < 0 ? 0 : read(fd, word, sizeof word - 1);
    int found;

    word[n > 0 ? strcspn(word, "\n") : 0] = '\0';
    found = kage_own_kernel_from(word);
    return found < 0 ? KAGE_OWN_KERNEL_STOCK : (enum kage_own_kernel)found;
}

int kage_tiny_set_default(const struct kage_store *store, enum kage_own_kernel kernel,
                          struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *work = kage_asprintf("%s.new", store->own_kernel_path);
    FILE *f;
    int r;

    if (kernel == kage_tiny_default(store))
        return 0;
    if (kernel == KAGE_OWN_KERNEL_STOCK)
        return unlink(store->own_kernel_path) < 0
                   ? kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot remove %s",
                                      store->own_kernel_path)
                   : 0;
    f = fopen(work, "we");
    r = f ? fprintf(f, "%s\n", kage_own_kernel_name(kernel)) : -1;
    if (f && fclose(f) != 0)
        r = -1;
    if (r < 0 || rename(work, store->own_kernel_path) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot write %s",
                                store->own_kernel_path);
    return 0;
}

enum kage_own_kernel kage_tiny_kernel(const struct kage_store *store, enum kage_own_kernel first,
                                      const struct kage_manifest *image)
{
    int found = first == KAGE_OWN_KERNEL_ANY ? -1 : (int)first;

    if (found < 0 && image && image->boots)
        found = kage_own_kernel_from(image->boots);
    return found < 0 ? kage_tiny_default(store) : (enum kage_own_kernel)found;
}

static int build(struct kage_store *store, enum kage_own_kernel kernel, bool newest,
                 const char *folder, kage_image_progress *progress, void *user,
                 struct kage_error *err)
{
    struct kage_builder builder = {0};
    KAGE_CLEANUP(kage_freep) char *work = NULL, *output = NULL, *program = NULL;
    int r = -1;

    if (kage_builder_find(&builder, err) < 0)
        return -1;
    work = kage_store_workplace(store->images, err);
    if (work) {
        output = kage_asprintf("%s/tiny", work);
        program = kage_asprintf("%s/build-tiny", builder.scripts);
        const char *const argv[] = {program,
                                    "--vmd",
                                    builder.vmd,
                                    "--sandbox-helper",
                                    builder.sandbox_helper,
                                    "--kernel",
                                    kage_own_kernel_name(kernel),
                                    "--cache",
                                    store->parts,
                                    "--kernels",
                                    store->lean,
                                    "--id",
                                    KAGE_TINY_ID,
                                    output,
                                    newest ? "--newest" : NULL,
                                    NULL};
        r = kage_builder_run(argv, progress, user, err);
        if (r == 0)
            r = kage_store_commit(output, folder, err);
        kage_store_remove(work, NULL);
    }
    kage_builder_done(&builder);
    return r;
}

char *kage_tiny_resolve(struct kage_store *store, enum kage_own_kernel kernel, bool rebuild,
                        kage_image_progress *progress, void *user, struct kage_manifest *manifest,
                        struct kage_error *err)
{
    char *folder = kage_tiny_folder(store, kernel);
    int r;

    /* The usual case takes no lock: a folder under its final name is complete. */
    if (!rebuild && kage_manifest_read(folder, manifest, NULL) == 0) {
        kage_store_touch(folder);
        return folder;
    }
    if (kage_store_lock(store, progress, user, err) < 0) {
        kage_freep(&folder);
        return NULL;
    }
    r = rebuild ? -1 : kage_manifest_read(folder, manifest, NULL);
    if (r < 0) {
        r = build(store, kernel, rebuild, folder, progress, user, err);
        if (r == 0)
            r = kage_manifest_read(folder, manifest, err);
        if (r == 0) {
            kage_store_prune(store->images, name_with(kernel), folder);
            kage_store_prune(store->parts, NULL, "");
            kage_store_prune(store->lean, NULL, "");
        }
        if (r < 0)
            kage_error_wrap(err, "cannot build the image tiny");
    }
    kage_store_unlock(store);
    if (r < 0)
        kage_freep(&folder);
    return folder;
}
