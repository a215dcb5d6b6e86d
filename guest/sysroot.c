#include "guest/sysroot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/base/alloc.h"

/* In this order. A place that the image lacks is made. */
static const struct {
    const char *at, *type, *options;
    unsigned long flags;
    mode_t mode; /* of the folder, when it has to be made */
} mounts[] = {
    {"proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555},
    {"sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, 0555},
    /* Over the token, among others. */
    {"sys/firmware", "tmpfs", "mode=0555,size=4k", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, 0},
    {"dev", "tmpfs", "mode=0755,size=64k", MS_NOSUID | MS_NOEXEC, 0755},
    /* gid 5 is tty on every distribution that has the group. */
    {"dev/pts", "devpts", "newinstance,gid=5,mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC, 0755},
    {"dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 01777},
    {"run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, 0755},
    {"tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 01777},
};

/* Documentation/admin-guide/devices.txt */
static const struct {
    const char *name;
    unsigned major, minor;
} devices[] = {
    {"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
    {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct {
    const char *name, *target;
} links[] = {
    {"ptmx", "pts/ptmx"},          {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"},
    {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
};

static int make_devices(const char *root, struct kage_error *err)
{
    mode_t old = umask(0);
    int r = 0;

    for (size_t i = 0; i < sizeof devices / sizeof *devices && r == 0; i++) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/dev/%s", root, devices[i].name);

        if (mknod(path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) < 0)
            r = kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot make %s", path);
    }
    for (size_t i = 0; i < sizeof links / sizeof *links && r == 0; i++) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/dev/%s", root, links[i].name);

        if (symlink(links[i].target, path) < 0)
            r = kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot make %s", path);
    }
    umask(old);
    return r;
}

int kage_sysroot_populate(const char *root, struct kage_error *err)
{
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", root, mounts[i].at);
        struct stat st;

        if (mounts[i].mode && mkdir(path, mounts[i].mode) < 0 && errno != EEXIST)
            return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot make %s", path);
        if (lstat(path, &st) < 0 && !mounts[i].mode)
            continue; /* a kernel without this part of sysfs */
        if (!S_ISDIR(st.st_mode))
            return kage_error_set(err, KAGE_CLASS_BOOT, "%s in the image is no folder", path);
        if (mount(mounts[i].type, path, mounts[i].type, mounts[i].flags, mounts[i].options) < 0)
            return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot mount %s", path);
        if (!strcmp(mounts[i].at, "dev") && make_devices(root, err) < 0)
            return -1;
    }
    return 0;
}

int kage_sysroot_enter(const char *root, struct kage_error *err)
{
    if (chdir(root) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot make %s the root", root);
    /* Commands' mount namespaces are slaves of this one: what vmd mounts and unmounts later shows
     * in them, and nothing comes back. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot share the mount table");
    return 0;
}

int kage_sysroot_open_program(const char *path, int *ret, struct kage_error *err)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV};
    int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (fd >= 0 && mount_setattr(fd, "", AT_EMPTY_PATH, &read_only, sizeof read_only) < 0)
        kage_closep(&fd);
    /* Without the right to mount, as it is: sandbox-helper then protects itself by a copy. */
    if (fd < 0)
        fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot open the program '%s'", path);
    *ret = fd;
    return 0;
}
