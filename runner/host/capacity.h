#pragma once

#include <stdint.h>

/* What there is for a guest to use. Unknown is 0. */
struct kage_host_capacity {
    unsigned cpus;        /* processors that this process may run on */
    uint64_t memory;      /* bytes that the kernel grants a program at most */
    uint64_t memory_free; /* bytes a program can fill without swapping, or being killed for it */
    uint64_t disk_free;   /* bytes for images and scratch disks; only in a file of facts */
};

/* Reads /proc and the limits of the cgroups this process is in. `root` is put in front of every
 * path: "" for this machine, the folder of a made-up one in tests. Costs no process and some 50 µs.
 */
void kage_host_read_capacity(const char *root, struct kage_host_capacity *ret);
