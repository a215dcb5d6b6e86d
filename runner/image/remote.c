#include "runner/image/remote.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/image/digest.h"
#include "runner/image/download.h"
#include "runner/image/rootfs.h"
#include "runner/image/verified.h"

#define DIGEST_PREFIX "sha256:"
#define PART ".part-"
#define VALIDATOR_MAX 256
/* What was broken off and not taken up again. */
#define PART_KEEP_SECONDS (14 * 24 * 60 * 60)

struct fetch {
    struct kage_store *store;
    const struct kage_remote *remote;
    kage_image_progress *progress;
    void *user;
    char *shown, *folder, *part;
    const char *wanted; /* 64 hex digits or NULL */
    int fd;             /* of the part, locked */
};

static void tell(const struct fetch *f, const char *what)
{
    if (f->progress)
        f->progress(what, f->user);
}

static const char *digest_hex(const char *digest)
{
    size_t n = strlen(DIGEST_PREFIX);

    if (!digest || strncmp(digest, DIGEST_PREFIX, n) != 0 ||
        strlen(digest + n) != KAGE_SHA256_HEX ||
        strspn(digest + n, "0123456789abcdef") != KAGE_SHA256_HEX)
        return NULL;
    return digest + n;
}

static char *key_of(const char *url, const char *digest)
{
    const char *wanted = digest_hex(digest);
    char hex[KAGE_SHA256_HEX + 1];
    struct kage_sha256 *hash;

    if (wanted)
        return kage_strdup(wanted);
    hash = kage_sha256_new();
    kage_sha256_add(hash, url, strlen(url));
    kage_sha256_end(hash, hex);
    return kage_asprintf("url-%.32s", hex);
}

char *kage_remote_folder(const struct kage_store *store, const char *url, const char *digest)
{
    KAGE_CLEANUP(kage_freep) char *key = key_of(url, digest);

    return kage_asprintf("%s/%s", store->downloads, key);
}

/* ---- what is there ---- */

/* Checks the opened file against its digest, which is what the folder is for. */
static int check_stored(const struct fetch *f, struct kage_manifest *manifest,
                        struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/rootfs", f->folder);
    KAGE_CLEANUP(kage_closep) int fd = -1;

    if (kage_manifest_read(f->folder, manifest, err) < 0)
        return -1;
    if (f->wanted && strcmp(f->wanted, manifest->rootfs.sha256) != 0)
        return kage_error_set(err, KAGE_CLASS_IMAGE, "%s has another digest", path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read %s", path);
    return kage_verified(fd, path, manifest->rootfs.sha256, err);
}

/* Damaged ones go, and are downloaded again. */
static bool have_stored(const struct fetch *f, struct kage_manifest *manifest)
{
    struct kage_error err = KAGE_ERROR_INIT;
    bool there = access(f->folder, F_OK) == 0;

    if (!there)
        return false;
    if (check_stored(f, manifest, &err) == 0)
        return true;
    tell(f, "what is stored of this image is damaged and is downloaded again");
    kage_error_done(&err);
    kage_manifest_done(manifest);
    kage_store_remove(f->folder, NULL);
    return false;
}

static void remove_stale_parts(const struct kage_store *store)
{
    DIR *dir = opendir(store->downloads);
    time_t now = time(NULL);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        struct stat st;

        if (!strncmp(entry->d_name, PART, strlen(PART)) &&
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            now - st.st_mtime > PART_KEEP_SECONDS)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

/* ---- the part ---- */

/* Opens and locks the part. Returns 1 when somebody else finished it meanwhile. */
static int lock_part(struct fetch *f, struct kage_error *err)
{
    struct stat mine, named;

    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->fd < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot write %s", f->part);
    if (flock(f->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot lock %s", f->part);
        tell(f, "waiting for another kage that downloads the same image");
        while (flock(f->fd, LOCK_EX) < 0)
            if (errno != EINTR)
                return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot lock %s", f->part);
    }
    if (fstat(f->fd, &mine) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot look at %s", f->part);
    if (stat(f->part, &named) < 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev) {
        kage_closep(&f->fd);
        return 1;
    }
    return 0;
}

/* ---- what the server said of the bytes in the part, beside it ---- */

static char *read_validator(const char *part)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s.etag", part);
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char text[VALIDATOR_MAX + 1];
    ssize_t n = fd < 0 ? -1 : read(fd, text, VALIDATOR_MAX);

    if (n <= 0)
        return NULL;
    text[n] = '\0';
    return strpbrk(text, "\r\n") ? NULL : kage_strdup(text);
}

static void write_validator(const char *part, const char *validator)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s.etag", part);
    KAGE_CLEANUP(kage_closep) int fd = -1;

    if (validator)
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, validator, strlen(validator)) < 0)
        unlink(path);
}

static void remove_part(const struct fetch *f)
{
    write_validator(f->part, NULL);
    unlink(f->part);
}

/* ---- downloading ---- */

/* Bytes that were there and cannot be told to belong to the same file are not built on. */
static uint64_t resumable(const struct fetch *f, const char *validator)
{
    off_t end = lseek(f->fd, 0, SEEK_END);

    if (end > 0 && (f->wanted || validator))
        return (uint64_t)end;
    if (ftruncate(f->fd, 0) < 0 || lseek(f->fd, 0, SEEK_SET) < 0)
        return 0;
    return 0;
}

static int download_once(struct fetch *f, bool *ret_resumed, struct kage_error *err)
{
    struct kage_download d = {.url = f->remote->url,
                              .fd = f->fd,
                              .max = f->remote->max ? f->remote->max : KAGE_REMOTE_MAX,
                              .progress = f->progress,
                              .user = f->user};
    KAGE_CLEANUP(kage_freep) char *text = NULL;
    uint64_t start;
    int r;

    d.validator = read_validator(f->part);
    d.have = start = resumable(f, d.validator);
    text =
        kage_asprintf("%s %s", start ? "going on with the download of" : "downloading", f->shown);
    tell(f, text);
    *ret_resumed = start > 0;
    r = kage_download(&d, err);
    write_validator(f->part, r < 0 ? d.validator : NULL);
    kage_freep(&d.validator);
    return r;
}

/* Leaves a part that has the wanted digest, or fails. */
static int download(struct fetch *f, char hex[KAGE_SHA256_HEX + 1], struct kage_error *err)
{
    bool resumed = true;

    /* A second time only when the first built on old bytes, which may be to blame. */
    while (resumed) {
        if (download_once(f, &resumed, err) < 0 || kage_sha256_fd(f->fd, f->part, hex, err) < 0)
            return -1;
        if (!f->wanted || !strcmp(f->wanted, hex))
            return 0;
        if (ftruncate(f->fd, 0) < 0)
            break;
    }
    remove_part(f);
    return kage_error_set(err, KAGE_CLASS_IMAGE,
                          "%s does not have the digest it should: it has sha256:%s, not sha256:%s; "
                          "either the digest is of another version, or somebody changed the file",
                          f->shown, hex, f->wanted);
}

static int write_manifest(const struct fetch *f, const char *work, const char *holds,
                          const char *hex, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/manifest.json", work);
    cJSON *root = cJSON_CreateObject(), *file;
    struct stat st = {0};
    FILE *out = fopen(path, "we");
    char *text;
    int r = -1;

    fstat(f->fd, &st);
    cJSON_AddStringToObject(root, "name", f->shown);
    cJSON_AddStringToObject(root, "arch", "");
    cJSON_AddStringToObject(root, "from", f->shown);
    cJSON_AddStringToObject(root, "packages", holds);
    file = cJSON_AddObjectToObject(root, "rootfs");
    cJSON_AddStringToObject(file, "file", "rootfs");
    cJSON_AddNumberToObject(file, "size", (double)st.st_size);
    cJSON_AddStringToObject(file, "sha256", hex);
    text = cJSON_Print(root);
    if (out && text && fprintf(out, "%s\n", text) > 0)
        r = 0;
    if (out && fclose(out) != 0)
        r = -1;
    cJSON_free(text);
    cJSON_Delete(root);
    return r < 0 ? kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot write %s", path) : 0;
}

/* The part keeps its name, and its lock, until the folder is in place: who waits for it then finds
 * the folder. */
static int put_in_place(struct fetch *f, const char *holds, const char *hex, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *work = kage_store_workplace(f->store->downloads, err);
    KAGE_CLEANUP(kage_freep) char *path = NULL;
    int r = -1;

    if (!work)
        return -1;
    path = kage_asprintf("%s/rootfs", work);
    if (link(f->part, path) < 0)
        kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot put %s into place", f->part);
    else if (write_manifest(f, work, holds, hex, err) == 0)
        r = kage_store_commit(work, f->folder, err);
    if (r < 0)
        kage_store_remove(work, NULL);
    else
        remove_part(f);
    return r;
}

static int fetch(struct fetch *f, struct kage_manifest *manifest, struct kage_error *err)
{
    struct kage_rootfs rootfs;
    char hex[KAGE_SHA256_HEX + 1];
    bool anew = f->remote->anew;
    int r;

    for (;;) {
        if (!anew && have_stored(f, manifest))
            return 0;
        r = lock_part(f, err);
        if (r < 0)
            return -1;
        /* Between the look and the lock somebody may have finished. */
        if (r == 0 && !anew && have_stored(f, manifest)) {
            remove_part(f);
            return 0;
        }
        if (r == 0)
            break;
        anew = false;
    }
    remove_stale_parts(f->store);
    if (download(f, hex, err) < 0)
        return -1;
    if (kage_rootfs_look(f->fd, f->shown, &rootfs, err) < 0) {
        remove_part(f);
        return -1;
    }
    if (put_in_place(f, rootfs.holds, hex, err) < 0)
        return -1;
    return check_stored(f, manifest, err);
}

char *kage_remote_resolve(struct kage_store *store, const struct kage_remote *remote,
                          kage_image_progress *progress, void *user, struct kage_manifest *manifest,
                          struct kage_error *err)
{
    struct fetch f = {
        .store = store, .remote = remote, .progress = progress, .user = user, .fd = -1};
    KAGE_CLEANUP(kage_freep) char *key = NULL;
    char *folder = NULL;

    if (kage_download_check(remote->url, err) < 0)
        return NULL;
    f.wanted = digest_hex(remote->digest);
    if (remote->digest && !f.wanted) {
        kage_error_set(err, KAGE_CLASS_IMAGE, "a digest is sha256: and 64 hex digits");
        return NULL;
    }
    if (!f.wanted && !strncasecmp(remote->url, "http:", 5)) {
        kage_error_set(err, KAGE_CLASS_IMAGE,
                       "plain http can be changed on the way: use https, or give the digest of "
                       "the image");
        return NULL;
    }
    key = key_of(remote->url, remote->digest);
    f.shown = kage_download_shown(remote->url);
    f.folder = kage_asprintf("%s/%s", store->downloads, key);
    f.part = kage_asprintf("%s/" PART "%s", store->downloads, key);
    if (fetch(&f, manifest, err) == 0) {
        kage_store_touch(f.folder);
        folder = KAGE_TAKE(f.folder);
    }
    kage_closep(&f.fd);
    kage_freep(&f.shown);
    kage_freep(&f.folder);
    kage_freep(&f.part);
    return folder;
}
