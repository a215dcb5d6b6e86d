#pragma once

#include <stdbool.h>

struct kage_guest;
struct kage_refusal;

/*
 * Disks are found by their serial number, since the kernel's names follow the
 * order of discovery. No block device has a name that a command could open;
 * vmd reaches them through guest->block_fd.
 */

/* Mounts the file system on the disk and returns it as a mount that is attached nowhere yet. */
int kage_disk_mount(const struct kage_guest *guest, const char *serial, bool read_only,
                    struct kage_refusal *why);

/* The same, read-only, for a disk that may have partitions: the one with a Linux system on it. */
int kage_disk_mount_system(const struct kage_guest *guest, const char *serial,
                           struct kage_refusal *why);
