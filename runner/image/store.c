#include "runner/image/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"

/* Builds of kage each have an image of their own; developers make many a day. The newest few stay
 * for switching between branches, the rest goes after an hour, all of them after two weeks. */
#define KEEP_RECENT 3
#define KEEP_SECONDS (60 * 60)
#define KEEP_RECENT_SECONDS (14 * 24 * 60 * 60)

static char *cache_folder(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");

    /* The XDG base directory specification: a relative path is to be ignored. */
    if (xdg && xdg[0] == '/')
        return kage_asprintf("%s/kage", xdg);
    if (!home || home[0] != '/') {
        const struct passwd *pw = getpwuid(geteuid());

        home = pw ? pw->pw_dir : NULL;
    }
    return home ? kage_asprintf("%s/.cache/kage", home) : NULL;
}

static int make_parents(const char *path, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *part = kage_strdup(path);

    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot make the folder %s",
                                    part);
        *slash = '/';
    }
    return 0;
}

/* A folder of ours alone: what it holds is booted as the user's own. */
static int require_private(const char *path, struct kage_error *err)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot look at %s", path);
    if (!S_ISDIR(st.st_mode))
        return kage_error_set(err, KAGE_CLASS_IMAGE, "%s is not a folder; move it away", path);
    if (st.st_uid != geteuid())
        return kage_error_set(err, KAGE_CLASS_IMAGE,
                              "the folder %s belongs to another user (uid %u), so what it holds "
                              "cannot be trusted; set XDG_CACHE_HOME to a folder of your own",
                              path, st.st_uid);
    return 0;
}

static int make_private(const char *path, struct kage_error *err)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot make the folder %s", path);
    if (require_private(path, err) < 0)
        return -1;
    if (stat(path, &st) == 0 && (st.st_mode & 077) && chmod(path, 0700) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot make %s private", path);
    return 0;
}

static int name_folders(struct kage_store *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *root = cache_folder();

    *ret = (struct kage_store)KAGE_STORE_INIT;
    if (!root)
        return kage_error_set(err, KAGE_CLASS_IMAGE,
                              "no folder for cached images: set HOME or XDG_CACHE_HOME");
    ret->root = kage_strdup(root);
    ret->images = kage_asprintf("%s/images", root);
    ret->parts = kage_asprintf("%s/parts", root);
    ret->kernels = kage_asprintf("%s/kernels", root);
    ret->lean = kage_asprintf("%s/lean", root);
    ret->downloads = kage_asprintf("%s/downloads", root);
    ret->own_kernel_path = kage_asprintf("%s/own-kernel", root);
    ret->lock_path = kage_asprintf("%s/lock", root);
    return 0;
}

int kage_store_open(struct kage_store *ret, struct kage_error *err)
{
    struct kage_store store;

    if (name_folders(&store, err) < 0)
        return -1;
    if (make_parents(store.root, err) < 0 || make_private(store.root, err) < 0 ||
        make_private(store.images, err) < 0 || make_private(store.parts, err) < 0 ||
        make_private(store.kernels, err) < 0 || make_private(store.lean, err) < 0 ||
        make_private(store.downloads, err) < 0) {
        kage_store_done(&store);
        return -1;
    }
    *ret = store;
    return 0;
}

char *kage_store_deepest(const char *path)
{
    char *part = kage_strdup(path);

    while (access(part, F_OK) < 0) {
        char *slash = strrchr(part, '/');

        slash[slash == part ? 1 : 0] = '\0';
    }
    return part;
}

int kage_store_look(struct kage_store *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *there = NULL;
    struct kage_store store;
    int r = 0;

    if (name_folders(&store, err) < 0)
        return -1;
    there = kage_store_deepest(store.root);
    if (strcmp(there, store.root) == 0)
        r = require_private(store.root, err);
    if (r == 0 && access(there, W_OK | X_OK) < 0)
        r = kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot make folders in %s", there);
    if (r < 0) {
        kage_store_done(&store);
        return -1;
    }
    *ret = store;
    return 0;
}

char *kage_cache_folder(const char *name, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *root = cache_folder();
    char *path;

    if (!root) {
        kage_error_set(err, KAGE_CLASS_HOST, "no cache folder: set HOME or XDG_CACHE_HOME");
        return NULL;
    }
    path = kage_asprintf("%s/%s", root, name);
    if (make_parents(root, err) < 0 || make_private(root, err) < 0 || make_private(path, err) < 0)
        kage_freep(&path);
    return path;
}

void kage_store_done(struct kage_store *store)
{
    kage_store_unlock(store);
    kage_freep(&store->root);
    kage_freep(&store->images);
    kage_freep(&store->parts);
    kage_freep(&store->kernels);
    kage_freep(&store->lean);
    kage_freep(&store->downloads);
    kage_freep(&store->own_kernel_path);
    kage_freep(&store->lock_path);
}

int kage_store_lock(struct kage_store *store, kage_image_progress *progress, void *user,
                    struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep)
    int fd = open(store->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot open %s", store->lock_path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK && progress)
            progress("waiting for another kage that prepares an image", user);
        while (flock(fd, LOCK_EX) < 0)
            if (errno != EINTR)
                return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot lock %s",
                                        store->lock_path);
    }
    store->lock_fd = fd;
    fd = -1;
    return 0;
}

void kage_store_unlock(struct kage_store *store)
{
    kage_closep(&store->lock_fd);
}

char *kage_store_workplace(const char *folder, struct kage_error *err)
{
    char *path = kage_asprintf("%s/.new-XXXXXX", folder);

    if (!mkdtemp(path)) {
        kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot make a folder in %s", folder);
        kage_freep(&path);
    }
    return path;
}

static int sync_path(const char *path)
{
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? -1 : 0;
}

static int sync_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return -1;
    while (!r && (entry = readdir(dir))) {
        KAGE_CLEANUP(kage_freep) char *file = NULL;

        if (entry->d_type != DT_REG)
            continue;
        file = kage_asprintf("%s/%s", path, entry->d_name);
        r = sync_path(file);
    }
    closedir(dir);
    return r < 0 ? r : sync_path(path);
}

int kage_store_commit(const char *work, const char *path, struct kage_error *err)
{
    if (sync_folder(work) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot write %s", work);
    if (rename(work, path) == 0)
        return 0;
    /* What is there is damaged, or an older build. Others may be about to open it by name, so there
     * must be no moment without one. */
    if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot move %s into place", path);
    if (renameat2(AT_FDCWD, work, AT_FDCWD, path, RENAME_EXCHANGE) < 0 &&
        (kage_store_remove(path, err) < 0 || rename(work, path) < 0))
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot replace %s", path);
    return kage_store_remove(work, err);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int kage_store_remove(const char *path, struct kage_error *err)
{
    struct stat st;

    if (lstat(path, &st) < 0 && errno == ENOENT)
        return 0;
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot remove %s", path);
    return 0;
}

struct candidate {
    char *path;
    time_t used;
};

static int newest_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return (x->used < y->used) - (x->used > y->used);
}

bool kage_store_is_named(const char *folder, const char *name)
{
    size_t n = strlen(name);

    return !strncmp(folder, name, n) && folder[n] == '-' &&
           strlen(folder + n + 1) == KAGE_STORE_ID &&
           strspn(folder + n + 1, "0123456789abcdef") == KAGE_STORE_ID;
}

void kage_store_prune(const char *folder, const char *name, const char *keep)
{
    DIR *dir = opendir(folder);
    struct candidate *found = NULL;
    size_t n = 0, cap = 0;
    time_t now = time(NULL);
    struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, entry->d_name);
        struct stat st;

        if (!strncmp(entry->d_name, ".new-", 5)) {
            kage_store_remove(path, NULL);
            continue;
        }
        if (entry->d_name[0] == '.' || (name && !kage_store_is_named(entry->d_name, name)) ||
            !strcmp(path, keep) || lstat(path, &st) < 0)
            continue;
        found = kage_array_grow(found, &cap, n + 1, sizeof *found);
        found[n++] = (struct candidate){KAGE_TAKE(path), st.st_mtime};
    }
    closedir(dir);
    if (n)
        qsort(found, n, sizeof *found, newest_first);
    for (size_t i = 0; i < n; i++) {
        time_t age = now - found[i].used;

        if (age > (i < KEEP_RECENT ? KEEP_RECENT_SECONDS : KEEP_SECONDS))
            kage_store_remove(found[i].path, NULL);
        kage_freep(&found[i].path);
    }
    free(found);
}

void kage_store_touch(const char *path)
{
    /* Failing to means an early rebuild at worst. */
    utimensat(AT_FDCWD, path, NULL, 0);
}
