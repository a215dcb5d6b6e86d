#include "runner/image/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

/* Up to the superblock of btrfs, the one that is furthest in. */
#define HEAD_SIZE (0x10040 + 8)

#define QCOW2_MAGIC "QFI\xfb"

/* Where each format has its magic number: the kernel's fs headers (super.c, *_fs.h), UEFI 5.3.2 for
 * GPT, ECMA-119 for ISO 9660, QEMU's block drivers for disk images. Order matters: disks have no
 * file system at the places before theirs, but a partition table may stand in front of one. */
static const struct {
    size_t at;
    const char *magic;
    size_t len;
    const char *holds;
    const char *advice; /* NULL for what can be booted */
} formats[] = {
    {0, "hsqs", 4, "squashfs", NULL},
    {1024, "\xe2\xe1\xf5\xe0", 4, "erofs", NULL},
    {1080, "\x53\xef", 2, "ext4", NULL},
    {0, "XFSB", 4, "xfs", NULL},
    {0x10040, "_BHRfS_M", 8, "btrfs", NULL},
    {512, "EFI PART", 8, "a partitioned disk", NULL},
    {4096, "EFI PART", 8, "a disk with sectors of 4096 bytes",
     "kage gives the guest sectors of 512 bytes"},
    {0, "KDMV", 4, "a VMDK image", "convert it: qemu-img convert -O qcow2 OLD NEW"},
    {0, "vhdxfile", 8, "a VHDX image", "convert it: qemu-img convert -O qcow2 OLD NEW"},
    {0, "conectix", 8, "a VHD image", "convert it: qemu-img convert -O qcow2 OLD NEW"},
    {64, "\x7f\x10\xda\xbe", 4, "a VDI image", "convert it: qemu-img convert -O qcow2 OLD NEW"},
    {0, "\x1f\x8b", 2, "packed by gzip", "unpack it first (gunzip)"},
    {0,
     "\xfd"
     "7zXZ",
     5, "packed by xz", "unpack it first (unxz)"},
    {0, "\x28\xb5\x2f\xfd", 4, "packed by zstd", "unpack it first (unzstd)"},
    {0, "BZh", 3, "packed by bzip2", "unpack it first (bunzip2)"},
    {257, "ustar", 5, "a tar archive", "make a file system of it: sqfstar rootfs.img < ARCHIVE"},
    {0x8001, "CD001", 5, "a CD image", "give the image of an installed system"},
    {0,
     "\x7f"
     "ELF",
     4, "a program or kernel", "give the root file system, not the kernel"},
    {0, "MZ", 2, "a kernel", "give the root file system; a kernel goes under kernel:"},
    {0, "<", 1, "text (HTML or XML)", "it may be the error page of a server"},
    /* Last: the mark of an MBR is in the boot sectors of much else. */
    {510, "\x55\xaa", 2, "a partitioned disk", NULL},
};

static uint64_t big_endian(const unsigned char *p, int bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return value;
}

/* docs/interop/qcow2.txt in QEMU's tree: the header. The name of another file in it is opened by
 * QEMU with the rights of the user, whose files the author of an image has no business with. */
static int check_qcow2(const unsigned char *head, size_t len, const char *name,
                       struct kage_error *err)
{
    enum { VERSION = 4, BACKING = 8, CRYPT = 32, INCOMPATIBLE = 72, EXTERNAL_DATA = 1 << 2 };
    uint64_t version;

    if (len < 72 || (version = big_endian(head + VERSION, 4)) < 2 || version > 3 ||
        (version == 3 && len < 104))
        return kage_error_set(err, KAGE_CLASS_IMAGE, "'%s' is a damaged qcow2 image", name);
    if (big_endian(head + BACKING, 8))
        return kage_error_set(err, KAGE_CLASS_IMAGE,
                              "'%s' is a qcow2 image with a backing file, which could be any file "
                              "of yours; make it whole: qemu-img convert -O qcow2 OLD NEW",
                              name);
    if (version == 3 && (big_endian(head + INCOMPATIBLE, 8) & EXTERNAL_DATA))
        return kage_error_set(err, KAGE_CLASS_IMAGE,
                              "'%s' is a qcow2 image with an external data file, which could be "
                              "any file of yours; make it whole: qemu-img convert -O qcow2 OLD NEW",
                              name);
    if (big_endian(head + CRYPT, 4))
        return kage_error_set(err, KAGE_CLASS_IMAGE, "'%s' is an encrypted qcow2 image", name);
    return 0;
}

static int look(const unsigned char *head, size_t len, const char *name, struct kage_rootfs *ret,
                struct kage_error *err)
{
    if (len >= 4 && !memcmp(head, QCOW2_MAGIC, 4)) {
        ret->format = ret->holds = "qcow2";
        return check_qcow2(head, len, name, err);
    }
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (len < formats[i].at + formats[i].len ||
            memcmp(head + formats[i].at, formats[i].magic, formats[i].len) != 0)
            continue;
        if (formats[i].advice)
            return kage_error_set(err, KAGE_CLASS_IMAGE, "'%s' is no root file system but %s; %s",
                                  name, formats[i].holds, formats[i].advice);
        ret->format = "raw";
        ret->holds = formats[i].holds;
        return 0;
    }
    return kage_error_set(err, KAGE_CLASS_IMAGE,
                          "'%s' is no root file system: neither squashfs, erofs, ext4, xfs or "
                          "btrfs, nor a disk with partitions, raw or qcow2",
                          name);
}

int kage_rootfs_look(int fd, const char *path, struct kage_rootfs *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(path, strlen(path));
    KAGE_CLEANUP(kage_freep) unsigned char *head = kage_alloc(HEAD_SIZE);
    struct kage_rootfs found = {.fd = fd};
    size_t len = 0;
    struct stat st;
    ssize_t n = 1;

    if (fstat(fd, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read '%s'", name);
    if (!S_ISREG(st.st_mode))
        return kage_error_set(err, KAGE_CLASS_IMAGE, "the root file system '%s' is not a file",
                              name);
    while (len < HEAD_SIZE && (n = pread(fd, head + len, HEAD_SIZE - len, (off_t)len)) > 0)
        len += (size_t)n;
    if (n < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read '%s'", name);
    if (look(head, len, name, &found, err) < 0)
        return -1;
    *ret = found;
    return 0;
}

int kage_rootfs_open(const char *path, struct kage_rootfs *ret, struct kage_error *err)
{
    /* O_NONBLOCK: opening a FIFO must not wait for its writer. */
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        KAGE_CLEANUP(kage_freep) char *name = kage_printable(path, strlen(path));

        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno,
                                "cannot read the root file system '%s'", name);
    }
    if (kage_rootfs_look(fd, path, ret, err) < 0)
        return -1;
    kage_take_fd(&fd);
    return 0;
}
