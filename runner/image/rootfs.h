#pragma once

#include "common/base/error.h"

/*
 * A file with a root file system or a whole disk, as QEMU is to present it to
 * the guest. What it is is read from the file itself, once it is open; QEMU is
 * told, and never guesses.
 */
struct kage_rootfs {
    int fd;             /* open for reading */
    const char *format; /* QEMU's driver: "raw" or "qcow2"; static */
    const char *holds;  /* for people: "squashfs", "a partitioned disk", …; static */
};

/* Opens `path`. Refuses what is not a regular file, formats that QEMU or the guest cannot read, and
 * qcow2 files that lead to other files of the host (backing file, external data file). */
int kage_rootfs_open(const char *path, struct kage_rootfs *ret, struct kage_error *err);

/* The same for a file that is open; does not close it. */
int kage_rootfs_look(int fd, const char *path, struct kage_rootfs *ret, struct kage_error *err);
