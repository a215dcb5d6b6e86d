#include "runner/image/tiny.h"

#include <string.h>

#include "common/base/alloc.h"
#include "image_id.h"
#include "runner/image/builder.h"

#define NAME "tiny"

char *kage_tiny_folder(const struct kage_store *store)
{
    return kage_asprintf("%s/" NAME "-" KAGE_TINY_ID, store->images);
}

static int build(struct kage_store *store, const char *folder, kage_image_progress *progress,
                 void *user, struct kage_error *err)
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
        const char *const argv[] = {
            program,   "--vmd",      builder.vmd, "--sandbox-helper", builder.sandbox_helper,
            "--cache", store->parts, "--id",      KAGE_TINY_ID,       output,
            NULL};
        r = kage_builder_run(argv, progress, user, err);
        if (r == 0)
            r = kage_store_commit(output, folder, err);
        kage_store_remove(work, NULL);
    }
    kage_builder_done(&builder);
    return r;
}

char *kage_tiny_resolve(struct kage_store *store, bool rebuild, kage_image_progress *progress,
                        void *user, struct kage_manifest *manifest, struct kage_error *err)
{
    char *folder = kage_tiny_folder(store);
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
        r = build(store, folder, progress, user, err);
        if (r == 0)
            r = kage_manifest_read(folder, manifest, err);
        if (r == 0) {
            kage_store_prune(store->images, NAME, folder);
            kage_store_prune(store->parts, NULL, "");
        }
        if (r < 0)
            kage_error_wrap(err, "cannot build the image tiny");
    }
    kage_store_unlock(store);
    if (r < 0)
        kage_freep(&folder);
    return folder;
}
