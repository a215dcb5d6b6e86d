#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "guest/standby.h"

struct kage_loop;
struct kage_process;
struct kage_client;
struct kage_line;
struct kage_mount;

/*
 * What the modules of vmd share: one machine, one vmd, one of these. Descriptors
 * are -1 where the thing is not there. They are opened before vmd changes its
 * root, so that nothing it depends on is reachable by a path from a command.
 */
struct kage_guest {
    struct kage_loop *loop;

    bool machine;   /* vmd is PID 1: clock, entropy and network are its own */
    bool owns_root; /* "/" is ours to change: a machine, or a folder given with --root */

    int initramfs_fd;  /* the initramfs, for modules loaded on demand */
    int helper_fd;     /* sandbox-helper, O_PATH */
    int builtin_fd;    /* a static busybox, O_PATH, for commands that no image need have */
    int proc_fd;       /* vmd's own /proc */
    int control_fd;    /* the port that leads to kage, until it is served */
    int token_fd;      /* the token; read again at every authentication, never kept; -1: no way in
                          but the control port */
    int random_fd;     /* the kernel's generator, for reseeding it */
    int machine_id_fd; /* the file that was written last */
    int block_fd;      /* a devtmpfs that only vmd sees, for mounting disks */
    int sys_fd;        /* sysfs, for the serial numbers of disks */
    int quiet_net_fd;  /* network namespace with loopback only, shared by all commands */
    int open_net_fd;   /* network namespace with the way out; -1 when the network is off */
    int cgroup_fd;     /* the cgroup v2 folder under which every command gets its own */
    bool limit_processes; /* controllers that are really there */
    bool limit_memory;

    struct rlimit command_files;     /* RLIMIT_NOFILE as commands get it */
    uint64_t began_us, listening_us; /* kage_now_us() when vmd was started and when it listened */
    char boot_id[33];                /* changes with every boot and every restore */

    struct kage_standby standby[KAGE_STANDBY_KINDS];
    struct kage_process *processes; /* owned by process.c, and so on */
    unsigned long long last_handle;
    unsigned long long last_cgroup;
    struct kage_client *clients;
    struct kage_line *line; /* the control port, when it is served */
    struct kage_mount *mounts;
};
