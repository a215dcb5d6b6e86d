#pragma once

#include <sys/types.h>

#include "common/base/error.h"

/* Mounts what commands expect of a Linux system into the root file system at `root`: /proc, /sys
 * (read-only, without firmware), a small /dev with no block device, /dev/pts, /dev/shm, /run and
 * /tmp. */
int kage_sysroot_populate(const char *root, struct kage_error *err);

/* Makes `root`, a mount point, the root of this mount namespace and of vmd. */
int kage_sysroot_enter(const char *root, struct kage_error *err);

/* A read-only view of a program file, by descriptor (O_PATH): nobody who gets at it through a
 * running copy can write to it. */
int kage_sysroot_open_program(const char *path, int *ret, struct kage_error *err);
