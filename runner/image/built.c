#include "runner/image/built.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/image/builder.h"

#define NAME_MAX_LEN 63

static const struct {
    const char *name, *full;
} short_names[] = {{"debian", "debian-12"}, {"ubuntu", "ubuntu-22.04"}};

bool kage_built_name_valid(const char *name)
{
    size_t n = strlen(name);

    return n && n <= NAME_MAX_LEN && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n;
}

const char *kage_built_full_name(const char *name)
{
    for (size_t i = 0; i < sizeof short_names / sizeof *short_names; i++)
        if (!strcmp(name, short_names[i].name))
            return short_names[i].full;
    return name;
}

static bool newer(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* By the manifest's time: it is written once, while the folder's own time says when the image was
 * last used. */
char *kage_built_find(const struct kage_store *store, const char *name,
                      struct kage_manifest *manifest)
{
    DIR *dir = opendir(store->images);
    struct timespec newest = {0};
    struct dirent *entry;
    char *found = NULL;

    while (dir && (entry = readdir(dir))) {
        KAGE_CLEANUP(kage_freep) char *folder = NULL, *text = NULL;
        struct kage_manifest m = {0};
        struct stat st;

        if (!kage_store_is_named(entry->d_name, name))
            continue;
        folder = kage_asprintf("%s/%s", store->images, entry->d_name);
        text = kage_asprintf("%s/manifest.json", folder);
        if (stat(text, &st) < 0 || (found && !newer(&st.st_mtim, &newest)) ||
            kage_manifest_read(folder, &m, NULL) < 0)
            continue;
        if (!*m.rootfs.sha256) {
            kage_manifest_done(&m);
            continue;
        }
        kage_manifest_done(manifest);
        *manifest = m;
        newest = st.st_mtim;
        kage_freep(&found);
        found = KAGE_TAKE(folder);
    }
    if (dir)
        closedir(dir);
    return found;
}

/* Runs the script and moves what it made to where its digest says. */
static char *run_script(struct kage_store *store, const struct kage_built_order *order,
                        const char *work, kage_image_progress *progress, void *user,
                        struct kage_manifest *manifest, struct kage_error *err)
{
    struct kage_builder builder = {0};
    KAGE_CLEANUP(kage_freep) char *output = kage_asprintf("%s/output", work);
    KAGE_CLEANUP(kage_freep) char *program = NULL, *folder = NULL;
    const char *argv[12];
    size_t n = 0;
    int r;

    if (kage_builder_find(&builder, err) < 0)
        return NULL;
    program = kage_asprintf("%s/build-rootfs", builder.scripts);
    kage_builder_done(&builder);
    argv[n++] = program;
    argv[n++] = "--name";
    argv[n++] = order->name;
    if (order->mirror) {
        argv[n++] = "--mirror";
        argv[n++] = order->mirror;
    }
    if (order->suite) {
        argv[n++] = "--suite";
        argv[n++] = order->suite;
    }
    if (order->boots) {
        argv[n++] = "--boots";
        argv[n++] = order->boots;
    }
    argv[n++] = order->recipe ? order->recipe : order->name;
    argv[n++] = output;
    argv[n] = NULL;
    r = kage_builder_run(argv, progress, user, err);
    if (r == 0)
        r = kage_manifest_read(output, manifest, err);
    if (r == 0 && !*manifest->rootfs.sha256)
        r = kage_error_set(err, KAGE_CLASS_IMAGE, "the image builder made no root file system");
    if (r < 0)
        return NULL;
    folder = kage_asprintf("%s/%s-%.*s", store->images, order->name, KAGE_STORE_ID,
                           manifest->rootfs.sha256);
    return kage_store_commit(output, folder, err) < 0 ? NULL : KAGE_TAKE(folder);
}

char *kage_built_build(struct kage_store *store, const struct kage_built_order *order,
                       kage_image_progress *progress, void *user, struct kage_manifest *manifest,
                       struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *recipe = NULL, *work = NULL;
    struct kage_built_order made = *order;
    char *folder = NULL;

    if (order->recipe) {
        /* A path, so that the script does not take it for one of kage's own. */
        recipe = realpath(order->recipe, NULL);
        made.recipe = recipe;
        if (!recipe) {
            KAGE_CLEANUP(kage_freep)
            char *shown = kage_printable(order->recipe, strlen(order->recipe));

            kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read the recipe '%s'", shown);
            return NULL;
        }
    }
    if (kage_store_lock(store, progress, user, err) < 0)
        return NULL;
    if (order->if_missing)
        folder = kage_built_find(store, order->name, manifest);
    if (folder) {
        kage_store_unlock(store);
        return folder;
    }
    work = kage_store_workplace(store->images, err);
    if (work)
        folder = run_script(store, &made, work, progress, user, manifest, err);
    if (folder)
        kage_store_prune(store->images, order->name, folder);
    if (work)
        kage_store_remove(work, NULL);
    kage_store_unlock(store);
    if (!folder)
        kage_error_wrap(err, "cannot build the image %s", order->name);
    return folder;
}

/* The names of kage's recipes, for messages: "debian-12, ubuntu-22.04". */
static void list_recipes(const char *folder, struct kage_buf *out)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name, *end = strrchr(name, '.');

        if (name[0] != '.' && end && !strcmp(end, ".conf"))
            kage_buf_addf(out, ", %.*s", (int)(end - name), name);
        free(entries[i]);
    }
    free(entries);
}

int kage_built_require_recipe(const char *name, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(name, strlen(name));
    KAGE_CLEANUP(kage_freep) char *folder = NULL, *file = NULL;
    struct kage_builder builder = {0};
    struct kage_buf known = {0};
    bool there;

    if (!kage_built_name_valid(name))
        return kage_error_set(err, KAGE_CLASS_IMAGE,
                              "no image is named '%s': names have lower-case letters, digits, '.' "
                              "and '-'",
                              shown);
    if (kage_builder_find(&builder, err) < 0)
        return -1;
    folder = kage_asprintf("%s/recipes", builder.scripts);
    kage_builder_done(&builder);
    file = kage_asprintf("%s/%s.conf", folder, name);
    there = access(file, R_OK) == 0;
    if (!there) {
        list_recipes(folder, &known);
        kage_error_set(err, KAGE_CLASS_IMAGE,
                       "no image named '%s' has been built; kage has recipes for tiny%s, and "
                       "`kage image build --recipe FILE NAME` builds from a recipe of your own",
                       shown, known.len ? known.data : "");
    }
    kage_buf_done(&known);
    return there ? 0 : -1;
}

char *kage_built_resolve(struct kage_store *store, const char *name, kage_image_progress *progress,
                         void *user, struct kage_manifest *manifest, struct kage_error *err)
{
    struct kage_built_order order = {.name = kage_built_full_name(name), .if_missing = true};
    char *folder = NULL;

    if (kage_built_name_valid(order.name))
        folder = kage_built_find(store, order.name, manifest);
    if (folder) {
        kage_store_touch(folder);
        return folder;
    }
    if (kage_built_require_recipe(order.name, err) < 0)
        return NULL;
    return kage_built_build(store, &order, progress, user, manifest, err);
}
