#include "guest/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/proto/message.h"
#include "guest/disk.h"
#include "guest/files.h"
#include "guest/guest.h"
#include "guest/modules.h"
#include "guest/refusal.h"

/*
 * Mounts are made with the descriptor-based calls (fsopen, fsmount, move_mount),
 * so that the place that was checked is the place that is mounted over, whatever
 * a running command does to the path meanwhile. No symbolic link is followed on
 * the way there.
 */

/* The largest message of virtio-9p: 128 scatter-gather pages less the headers. */
#define MSIZE "507904"

struct kage_mount {
    struct kage_mount *next;
    char *point;
};

static const char *const forbidden[] = {"/proc", "/sys", "/dev"};

static bool is_at_or_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    return !strncmp(path, folder, n) && (path[n] == '/' || !path[n]);
}

int kage_mount_point_check(const char *path, struct kage_refusal *why)
{
    if (!kage_path_is_normal(path))
        return kage_refuse(why, KAGE_RPC_MOUNT, 0,
                           "'%s' is not an absolute path without '.', '..' and doubled or "
                           "trailing slashes",
                           path);
    if (!path[1])
        return kage_refuse(why, KAGE_RPC_MOUNT, 0, "nothing can be mounted over '/'");
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        if (is_at_or_below(path, forbidden[i]))
            return kage_refuse(why, KAGE_RPC_MOUNT, 0, "nothing can be mounted over '%s'", path);
    return 0;
}

/* Opens a folder below "/" without following links; missing parts are made. */
static int open_point(const char *path)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_IN_ROOT};
    KAGE_CLEANUP(kage_freep) char *part = kage_strdup(path);
    int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *save = NULL;

    for (char *name = strtok_r(part, "/", &save); name && dir >= 0;
         name = strtok_r(NULL, "/", &save)) {
        int next = (int)syscall(SYS_openat2, dir, name, &how, sizeof how), e;

        if (next < 0 && errno == ENOENT && mkdirat(dir, name, 0755) == 0)
            next = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
        e = errno;
        close(dir);
        errno = e;
        dir = next;
    }
    return dir;
}

static int set(int fs, const char *key, const char *value)
{
    return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

/* What the kernel has to say about a refused mount; better than its errno alone. */
static void kernel_says(int fs, char *text, size_t size)
{
    ssize_t n = read(fs, text, size - 1);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (n > 2 && text[1] == ' ') /* "e ", "w " or "i " comes first */
        memmove(text, text + 2, strlen(text + 2) + 1);
}

/* Turns a configured file system into a mount that is attached nowhere yet. */
static int create(int fs, bool read_only, const char *what, struct kage_refusal *why)
{
    unsigned attributes =
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0);
    char text[200];
    int mnt = -1, e;

    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mnt = fsmount(fs, FSMOUNT_CLOEXEC, attributes);
    if (mnt >= 0)
        return mnt;
    e = errno;
    kernel_says(fs, text, sizeof text);
    return kage_refuse(why, KAGE_RPC_MOUNT, e, "cannot mount %s%s%s%s", what, *text ? " (" : "",
                       text, *text ? ")" : "");
}

static int open_fs(const char *type, const char *what, struct kage_refusal *why)
{
    int fs = fsopen(type, FSOPEN_CLOEXEC);

    return fs >= 0 ? fs
                   : kage_refuse(why, KAGE_RPC_MOUNT, errno,
                                 "cannot mount %s: this kernel offers no '%s'", what, type);
}

static int make_9p(const struct kage_guest *guest, const char *tag, bool read_only,
                   struct kage_refusal *why)
{
    KAGE_CLEANUP(kage_freep) char *what = kage_asprintf("the share '%s'", tag);
    KAGE_CLEANUP(kage_closep) int fs = -1;

    kage_modules_want(guest, "9p");
    fs = open_fs("9p", what, why);
    if (fs < 0)
        return -1;
    /* cache=mmap: no stale data between guest and host, and still shared writable mappings, which
     * linkers and databases need. */
    if (set(fs, "source", tag) < 0 || set(fs, "trans", "virtio") < 0 ||
        set(fs, "version", "9p2000.L") < 0 || set(fs, "msize", MSIZE) < 0 ||
        set(fs, "cache", "mmap") < 0 || set(fs, "access", "user") < 0 ||
        (read_only && fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0))
        return kage_refuse(why, KAGE_RPC_MOUNT, errno, "cannot mount %s", what);
    return create(fs, read_only, what, why);
}

static int make_tmpfs(int64_t size, bool read_only, struct kage_refusal *why)
{
    KAGE_CLEANUP(kage_closep) int fs = open_fs("tmpfs", "a tmpfs", why);
    char bytes[32];

    if (fs < 0)
        return -1;
    snprintf(bytes, sizeof bytes, "%" PRId64, size);
    if (set(fs, "source", "tmpfs") < 0 || set(fs, "mode", "1777") < 0 ||
        (size != KAGE_UNSET && set(fs, "size", bytes) < 0))
        return kage_refuse(why, KAGE_RPC_MOUNT, errno, "cannot mount a tmpfs");
    return create(fs, read_only, "a tmpfs", why);
}

/* For every user to write to, as a tmpfs is, and empty: databases want their folder so. On a disk
 * that has been used before neither changes anything that matters. */
static int make_disk(const struct kage_guest *guest, const char *serial, bool read_only,
                     struct kage_refusal *why)
{
    int mnt = kage_disk_mount(guest, serial, read_only, why);

    if (mnt >= 0 && !read_only) {
        fchmodat(mnt, ".", 01777, 0);
        unlinkat(mnt, "lost+found", AT_REMOVEDIR);
    }
    return mnt;
}

static int make(const struct kage_guest *guest, const struct kage_msg *m, struct kage_refusal *why)
{
    const char *fs = m->mount.fs ? m->mount.fs : "9p";
    const char *tag = m->mount.tag;

    if (!strcmp(fs, "tmpfs"))
        return make_tmpfs(m->mount.size, m->mount.read_only, why);
    if (!tag || !*tag)
        return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0, "field 'tag' is missing");
    if (!strcmp(fs, "9p"))
        return make_9p(guest, tag, m->mount.read_only, why);
    if (!strcmp(fs, "disk"))
        return make_disk(guest, tag, m->mount.read_only, why);
    return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0,
                       "field 'fs' must be \"9p\", \"tmpfs\" or \"disk\"");
}

static struct kage_mount **find(struct kage_guest *guest, const char *point)
{
    struct kage_mount **at = &guest->mounts;

    while (*at && strcmp((*at)->point, point) != 0)
        at = &(*at)->next;
    return at;
}

static int owns_root(const struct kage_guest *guest, struct kage_refusal *why)
{
    return guest->owns_root ? 0
                            : kage_refuse(why, KAGE_RPC_MOUNT, EPERM,
                                          "vmd runs on a host and was given no --root");
}

int kage_mount_add(struct kage_guest *guest, const struct kage_msg *m, struct kage_refusal *why)
{
    const char *point = m->mount.mount_point;
    KAGE_CLEANUP(kage_closep) int to = -1;
    KAGE_CLEANUP(kage_closep) int mnt = -1;
    struct kage_mount *entry;

    if (kage_mount_point_check(point, why) < 0 || owns_root(guest, why) < 0)
        return -1;
    if (*find(guest, point))
        return kage_refuse(why, KAGE_RPC_MOUNT, EBUSY, "'%s' is mounted already", point);
    mnt = make(guest, m, why);
    if (mnt < 0)
        return -1;
    kage_refusal_done(why);
    to = open_point(point);
    if (to < 0)
        return kage_refuse(why, KAGE_RPC_MOUNT, errno, "cannot use '%s' as a mount point%s", point,
                           errno == ELOOP ? " (a symbolic link is on the way)" : "");
    if (move_mount(mnt, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return kage_refuse(why, KAGE_RPC_MOUNT, errno, "cannot mount over '%s'", point);
    entry = kage_alloc(sizeof *entry);
    *entry = (struct kage_mount){.next = guest->mounts, .point = kage_strdup(point)};
    guest->mounts = entry;
    return 0;
}

/* By the folder above it, opened without following links: a command may have put a link there
 * since, and what it leads to is not to be unmounted. */
static int detach(const char *point)
{
    const char *name = strrchr(point, '/') + 1;
    KAGE_CLEANUP(kage_freep) char *parent = kage_strndup(point, (size_t)(name - point));
    KAGE_CLEANUP(kage_closep) int dir = open_point(parent);
    int r, e;

    if (dir < 0 || fchdir(dir) < 0)
        return -1;
    r = umount2(name, UMOUNT_NOFOLLOW);
    e = errno;
    if (chdir("/") < 0)
        return -1;
    errno = e;
    return r;
}

int kage_mount_remove(struct kage_guest *guest, const struct kage_msg *m, struct kage_refusal *why)
{
    const char *point = m->unmount.mount_point;
    struct kage_mount **at, *entry;

    if (kage_mount_point_check(point, why) < 0 || owns_root(guest, why) < 0)
        return -1;
    at = find(guest, point);
    entry = *at;
    if (!entry)
        return kage_refuse(why, KAGE_RPC_MOUNT, EINVAL, "'%s' was not mounted by a request", point);
    if (detach(point) < 0)
        return kage_refuse(why, KAGE_RPC_MOUNT, errno, "cannot unmount '%s'", point);
    *at = entry->next;
    free(entry->point);
    free(entry);
    return 0;
}

void kage_mounts_done(struct kage_guest *guest)
{
    while (guest->mounts) {
        struct kage_mount *m = guest->mounts;

        guest->mounts = m->next;
        free(m->point);
        free(m);
    }
}
