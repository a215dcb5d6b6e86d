#include "runner/template/template.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/image/store.h"
#include "runner/plan/parts.h"

/* Templates together may use this much disk; the ones not used for longest go first. A template of
 * a 512 MiB machine takes some 60 MiB. */
#define DISK_MAX (UINT64_C(4) << 30)
#define META_MAX (1u << 20)
/* What a saved machine may write while it boots; with less, booting without a template is safer: a
 * full disk would end the machine with SIGBUS. */
#define ROOM_MIN (UINT64_C(384) << 20)
/* Somebody may hold the lock for a moment just to look. */
#define LOCK_TRIES 25
#define LOCK_PAUSE_NS 2000000L
/* A workplace without a lock is about to get one, or was left by a maker killed right then. */
#define LOCKLESS_GRACE_S 10

/* ---- files ---- */

static char *in(const char *folder, const char *name)
{
    return kage_asprintf("%s/%s", folder, name);
}

static int open_in(const char *folder, const char *name, int flags)
{
    KAGE_CLEANUP(kage_freep) char *path = in(folder, name);

    return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static char *identity(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return kage_strdup("");
    return kage_asprintf("%llu %lld %lld.%09ld %lld.%09ld", (unsigned long long)st.st_ino,
                         (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                         (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

static cJSON *read_meta(const char *folder)
{
    KAGE_CLEANUP(kage_closep) int fd = open_in(folder, "meta.json", O_RDONLY);
    struct stat st;
    KAGE_CLEANUP(kage_freep) char *text = NULL;

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > META_MAX)
        return NULL;
    text = kage_alloc((size_t)st.st_size + 1);
    return read(fd, text, (size_t)st.st_size) != st.st_size ? NULL : cJSON_Parse(text);
}

static bool same(const cJSON *meta, const char *name, int fd)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(meta, name);
    KAGE_CLEANUP(kage_freep) char *now = identity(fd);

    return cJSON_IsString(item) && !strcmp(item->valuestring, now);
}

static void touch(const char *folder)
{
    KAGE_CLEANUP(kage_freep) char *path = in(folder, "meta.json");

    utimensat(AT_FDCWD, path, NULL, 0);
}

static void close_files(struct kage_template *t)
{
    kage_closep(&t->ram_fd);
    kage_closep(&t->state_fd);
    kage_closep(&t->disk_fd);
    kage_closep(&t->lock_fd);
}

static int lock_shared(int fd)
{
    struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_SH | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK)
            return -1;
        nanosleep(&pause, NULL);
    }
    return -1;
}

/* ---- use ---- */

int kage_template_open(const char *key, struct kage_template *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *base = kage_cache_folder("templates", err);
    struct kage_template t = KAGE_TEMPLATE_INIT;
    const cJSON *commands;
    struct stat st;
    cJSON *meta;
    bool good;

    if (!base)
        return -1;
    t.folder = in(base, key);
    t.lock_fd = open_in(t.folder, "lock", O_RDWR);
    /* Shared while in use; whoever removes one takes it exclusively first. */
    if (t.lock_fd < 0 || lock_shared(t.lock_fd) < 0) {
        close_files(&t);
        free(t.folder);
        return 1;
    }
    t.key = kage_strdup(key);
    t.ram_fd = open_in(t.folder, "ram", O_RDONLY);
    t.state_fd = open_in(t.folder, "state", O_RDONLY);
    meta = read_meta(t.folder);
    good = t.ram_fd >= 0 && t.state_fd >= 0 && same(meta, "ram", t.ram_fd) &&
           same(meta, "state", t.state_fd) && fstat(t.state_fd, &st) == 0;
    if (good && cJSON_HasObjectItem(meta, "disk")) {
        t.disk_fd = open_in(t.folder, "disk", O_RDONLY);
        good = t.disk_fd >= 0 && same(meta, "disk", t.disk_fd);
    }
    commands = cJSON_GetObjectItemCaseSensitive(meta, "commands");
    if (cJSON_IsString(commands))
        t.commands = kage_strdup(commands->valuestring);
    cJSON_Delete(meta);
    if (!good) {
        kage_template_discard(&t);
        return 1;
    }
    t.made = st.st_mtime;
    touch(t.folder);
    *ret = t;
    return 0;
}

void kage_template_done(struct kage_template *t)
{
    if (t->making || t->spoilt) {
        kage_template_discard(t);
        return;
    }
    close_files(t);
    kage_freep(&t->key);
    kage_freep(&t->folder);
    kage_freep(&t->commands);
}

void kage_template_discard(struct kage_template *t)
{
    struct kage_error ignored = KAGE_ERROR_INIT;

    /* Others that run from it keep their mappings; the files go with the last of them. */
    if (t->folder)
        kage_store_remove(t->folder, &ignored);
    kage_error_done(&ignored);
    t->making = t->spoilt = false;
    kage_template_done(t);
}

/* ---- making ---- */

static bool is_old(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && time(NULL) - st.st_mtime > LOCKLESS_GRACE_S;
}

static bool has_room(const char *base, uint64_t bytes)
{
    struct statvfs fs;

    return statvfs(base, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= bytes;
}

bool kage_template_has_room(uint64_t bytes)
{
    struct kage_error ignored = KAGE_ERROR_INIT;
    KAGE_CLEANUP(kage_freep) char *base = kage_cache_folder("templates", &ignored);

    kage_error_done(&ignored);
    return base && has_room(base, bytes + ROOM_MIN);
}

/* Removes what killed makers left: their lock went with them. */
static void prune_workplaces(const char *base)
{
    DIR *dir = opendir(base);
    struct dirent *e;

    while (dir && (e = readdir(dir))) {
        struct kage_error ignored = KAGE_ERROR_INIT;
        KAGE_CLEANUP(kage_freep) char *path = NULL;
        KAGE_CLEANUP(kage_closep) int lock = -1;

        if (strncmp(e->d_name, ".new-", 5) != 0)
            continue;
        path = in(base, e->d_name);
        lock = open_in(path, "lock", O_RDWR);
        if (lock >= 0 ? flock(lock, LOCK_EX | LOCK_NB) == 0 : is_old(path))
            kage_store_remove(path, &ignored);
        kage_error_done(&ignored);
    }
    if (dir)
        closedir(dir);
}

int kage_template_begin(const char *key, uint64_t memory, struct kage_template *ret,
                        struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *base = kage_cache_folder("templates", err);
    KAGE_CLEANUP(kage_freep) char *name = kage_asprintf(".new-%s", key);
    struct kage_template t = KAGE_TEMPLATE_INIT;

    if (!base)
        return -1;
    prune_workplaces(base);
    if (!has_room(base, ROOM_MIN))
        return kage_error_set(err, KAGE_CLASS_HOST, "less than %llu MiB are free in %s",
                              (unsigned long long)(ROOM_MIN >> 20), base);
    /* One workplace per key: its name is what keeps two makers apart. */
    t.folder = in(base, name);
    if (mkdir(t.folder, 0700) < 0) {
        int e = errno;

        free(t.folder);
        return e == EEXIST ? 1
                           : kage_error_errno(err, KAGE_CLASS_HOST, e, "cannot make a template");
    }
    t.making = true;
    t.key = kage_strdup(key);
    t.lock_fd = open_in(t.folder, "lock", O_RDWR | O_CREAT | O_EXCL);
    if (t.lock_fd >= 0 && flock(t.lock_fd, LOCK_EX | LOCK_NB) < 0) {
        /* Taken for a leftover by somebody who cleans up, who will remove it. */
        t.making = false;
        kage_template_done(&t);
        return 1;
    }
    t.ram_fd = open_in(t.folder, "ram", O_RDWR | O_CREAT | O_EXCL);
    t.state_fd = open_in(t.folder, "state", O_RDWR | O_CREAT | O_EXCL);
    if (t.lock_fd < 0 || t.ram_fd < 0 || t.state_fd < 0 || ftruncate(t.ram_fd, (off_t)memory) < 0) {
        kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make a template in %s", base);
        kage_template_discard(&t);
        return -1;
    }
    *ret = t;
    return 0;
}

int kage_template_add_disk(struct kage_template *t, struct kage_error *err)
{
    t->disk_fd = open_in(t->folder, "disk", O_RDWR | O_CREAT | O_EXCL);
    return t->disk_fd < 0 ? kage_error_errno(err, KAGE_CLASS_HOST, errno,
                                             "cannot make a file in %s", t->folder)
                          : 0;
}

static int write_meta(const struct kage_template *t, const struct kage_plan *plan,
                      const struct kage_template_note *note)
{
    KAGE_CLEANUP(kage_closep) int fd = open_in(t->folder, "meta.json", O_WRONLY | O_CREAT | O_EXCL);
    KAGE_CLEANUP(kage_freep) char *ram = identity(t->ram_fd);
    KAGE_CLEANUP(kage_freep) char *state = identity(t->state_fd);
    cJSON *root = cJSON_CreateObject();
    char *text;
    bool ok;

    cJSON_AddStringToObject(root, "name", plan->name);
    cJSON_AddStringToObject(root, "accelerator", kage_accel_name(plan->accel));
    cJSON_AddStringToObject(root, "ram", ram);
    cJSON_AddStringToObject(root, "state", state);
    if (t->disk_fd >= 0) {
        KAGE_CLEANUP(kage_freep) char *disk = identity(t->disk_fd);

        cJSON_AddStringToObject(root, "disk", disk);
    }
    if (note) {
        KAGE_CLEANUP(kage_freep) char *after = kage_printable(note->after, strlen(note->after));

        cJSON_AddStringToObject(root, "after", after);
        cJSON_AddStringToObject(root, "commands", note->commands);
    }
    text = cJSON_Print(root);
    cJSON_Delete(root);
    ok = text && fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    cJSON_free(text);
    return ok ? 0 : -1;
}

static int by_use(const void *a, const void *b)
{
    const struct kage_template_info *x = a, *y = b;

    return x->used < y->used ? -1 : x->used > y->used;
}

static void keep_within_limit(const char *keep)
{
    struct kage_error ignored = KAGE_ERROR_INIT;
    struct kage_template_info *list;
    uint64_t total = 0;
    size_t n;

    if (kage_template_list(&list, &n, &ignored) < 0) {
        kage_error_done(&ignored);
        return;
    }
    if (n)
        qsort(list, n, sizeof *list, by_use);
    for (size_t i = 0; i < n; i++)
        total += list[i].disk;
    for (size_t i = 0; i < n && total > DISK_MAX; i++) {
        if (strcmp(list[i].key, keep) != 0 && kage_template_remove(list[i].key, &ignored) > 0)
            total -= list[i].disk;
        kage_error_done(&ignored);
    }
    kage_template_list_free(list, n);
}

int kage_template_commit(struct kage_template *t, const struct kage_plan *plan,
                         const struct kage_template_note *note, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *base = kage_cache_folder("templates", err);
    KAGE_CLEANUP(kage_freep) char *path = base ? in(base, t->key) : NULL;

    if (!path)
        return -1;
    /* No fsync: a template that a power cut damages fails the comparison, or the restore, and is
     * made again. */
    if (write_meta(t, plan, note) < 0 || flock(t->lock_fd, LOCK_SH) < 0 ||
        rename(t->folder, path) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot keep the template %s", path);
    free(t->folder);
    t->folder = KAGE_TAKE(path);
    t->making = false;
    keep_within_limit(t->key);
    return 0;
}

/* ---- the collection ---- */

static bool is_key(const char *name)
{
    return strlen(name) == 32 && strspn(name, "0123456789abcdef") == 32;
}

static uint64_t disk_use(const char *folder)
{
    static const char *const names[] = {"ram", "state", "disk", "console", "meta.json"};
    uint64_t total = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        KAGE_CLEANUP(kage_freep) char *path = in(folder, names[i]);
        struct stat st;

        if (lstat(path, &st) == 0)
            total += (uint64_t)st.st_blocks * 512;
    }
    return total;
}

static void describe(const char *base, const char *key, struct kage_template_info *ret)
{
    KAGE_CLEANUP(kage_freep) char *folder = in(base, key);
    KAGE_CLEANUP(kage_freep) char *meta_path = in(folder, "meta.json");
    KAGE_CLEANUP(kage_closep) int lock = open_in(folder, "lock", O_RDWR);
    cJSON *meta = read_meta(folder);
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(meta, "name");
    const cJSON *accel = cJSON_GetObjectItemCaseSensitive(meta, "accelerator");
    const cJSON *after = cJSON_GetObjectItemCaseSensitive(meta, "after");
    struct stat st;

    *ret = (struct kage_template_info){
        .after = cJSON_IsString(after) ? kage_strdup(after->valuestring) : NULL,
        .key = kage_strdup(key),
        .name = kage_strdup(cJSON_IsString(name) ? name->valuestring : "?"),
        .accel = kage_strdup(cJSON_IsString(accel) ? accel->valuestring : "?"),
        .disk = disk_use(folder),
        .used = stat(meta_path, &st) == 0 ? st.st_mtime : 0,
        .in_use = lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0,
    };
    cJSON_Delete(meta);
}

int kage_template_list(struct kage_template_info **ret, size_t *n, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *base = kage_cache_folder("templates", err);
    struct kage_template_info *list = NULL;
    size_t count = 0, cap = 0;
    struct dirent *e;
    DIR *dir = base ? opendir(base) : NULL;

    if (!base)
        return -1;
    if (!dir)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot read %s", base);
    while ((e = readdir(dir))) {
        if (!is_key(e->d_name))
            continue;
        list = kage_array_grow(list, &cap, count + 1, sizeof *list);
        describe(base, e->d_name, &list[count++]);
    }
    closedir(dir);
    *ret = list;
    *n = count;
    return 0;
}

void kage_template_list_free(struct kage_template_info *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].key);
        free(list[i].name);
        free(list[i].accel);
        free(list[i].after);
    }
    free(list);
}

int kage_template_remove(const char *key, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *base = kage_cache_folder("templates", err);
    struct kage_template_info *list;
    size_t n;
    int removed = 0;

    if (!base || kage_template_list(&list, &n, err) < 0)
        return -1;
    prune_workplaces(base);
    for (size_t i = 0; i < n && removed >= 0; i++) {
        KAGE_CLEANUP(kage_freep) char *folder = in(base, list[i].key);
        KAGE_CLEANUP(kage_closep) int lock = -1;

        if (key && strncmp(list[i].key, key, strlen(key)) != 0)
            continue;
        lock = open_in(folder, "lock", O_RDWR);
        if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0)
            continue;
        removed = kage_store_remove(folder, err) < 0 ? -1 : removed + 1;
    }
    kage_template_list_free(list, n);
    return removed;
}
