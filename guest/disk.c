#include "guest/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/proto/frame.h"
#include "guest/guest.h"
#include "guest/modules.h"
#include "guest/refusal.h"

#define NAME_SIZE 64

/* Tried in this order; each checks its own magic number. A read-only disk cannot replay a journal,
 * so there it is left alone. */
static const struct {
    const char *type, *no_journal;
} types[] = {
    {"ext4", "noload"},    {"erofs", NULL}, {"squashfs", NULL},
    {"xfs", "norecovery"}, {"btrfs", NULL}, {"vfat", NULL},
};

static ssize_t read_text(int dir, const char *path, char *text, size_t size)
{
    KAGE_CLEANUP(kage_closep) int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return n;
}

static DIR *open_blocks(const struct kage_guest *guest, const char *below)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("block%s%s", *below ? "/" : "", below);
    int fd =
        guest->sys_fd < 0 ? -1 : openat(guest->sys_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d)
        kage_closep(&fd);
    return d;
}

/* The kernel's name of the disk with that serial number: "vda". */
static int find_disk(const struct kage_guest *guest, const char *serial, char name[NAME_SIZE],
                     struct kage_refusal *why)
{
    struct dirent *e;
    bool found = false;
    DIR *d;

    kage_modules_want(guest, "virtio_blk");
    d = open_blocks(guest, "");
    while (d && !found && (e = readdir(d))) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/serial", e->d_name);
        char text[NAME_SIZE];

        if (e->d_name[0] == '.' || strlen(e->d_name) >= NAME_SIZE ||
            read_text(dirfd(d), path, text, sizeof text) <= 0 || strcmp(text, serial) != 0)
            continue;
        strcpy(name, e->d_name);
        found = true;
    }
    if (d)
        closedir(d);
    return found ? 0 : kage_refuse(why, KAGE_RPC_MOUNT, ENODEV, "there is no disk '%s'", serial);
}

static int try_type(const char *type, const char *device, const char *no_journal, bool read_only)
{
    KAGE_CLEANUP(kage_closep) int fs = fsopen(type, FSOPEN_CLOEXEC);

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
        (read_only && fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0) ||
        (read_only && no_journal && fsconfig(fs, FSCONFIG_SET_FLAG, no_journal, NULL, 0) < 0) ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return fsmount(fs, FSMOUNT_CLOEXEC,
                   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0));
}

/* Device names are relative to a working folder that only vmd has, for this long. */
static int mount_device(const struct kage_guest *guest, const char *device, bool read_only)
{
    int mnt = -1;

    if (guest->block_fd < 0 || fchdir(guest->block_fd) < 0)
        return -1;
    for (size_t i = 0; i < sizeof types / sizeof *types && mnt < 0; i++) {
        kage_modules_want(guest, types[i].type);
        mnt = try_type(types[i].type, device, types[i].no_journal, read_only);
    }
    if (chdir("/") < 0)
        kage_closep(&mnt);
    return mnt;
}

int kage_disk_mount(const struct kage_guest *guest, const char *serial, bool read_only,
                    struct kage_refusal *why)
{
    char name[NAME_SIZE];
    int mnt;

    if (find_disk(guest, serial, name, why) < 0)
        return -1;
    mnt = mount_device(guest, name, read_only);
    return mnt >= 0
               ? mnt
               : kage_refuse(why, KAGE_RPC_MOUNT, 0,
                             "the disk '%s' holds no file system that this kernel knows", serial);
}

/* A boot or EFI partition has neither. */
static bool is_system(int mnt)
{
    struct stat st;

    return fstatat(mnt, "etc", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstatat(mnt, "usr", &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int kage_disk_mount_system(const struct kage_guest *guest, const char *serial,
                           struct kage_refusal *why)
{
    char disk[NAME_SIZE];
    struct dirent *e;
    DIR *d;
    int mnt;

    if (find_disk(guest, serial, disk, why) < 0)
        return -1;
    mnt = mount_device(guest, disk, true);
    d = mnt < 0 ? open_blocks(guest, disk) : NULL;
    while (d && mnt < 0 && (e = readdir(d))) {
        if (strncmp(e->d_name, disk, strlen(disk)) != 0)
            continue;
        mnt = mount_device(guest, e->d_name, true);
        if (mnt >= 0 && !is_system(mnt))
            kage_closep(&mnt);
    }
    if (d)
        closedir(d);
    return mnt >= 0 ? mnt
                    : kage_refuse(why, KAGE_RPC_MOUNT, 0,
                                  "no Linux system that this kernel can read is on the disk '%s'",
                                  serial);
}
