#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"

/*
 * What the QEMU process may touch on the host, enforced by Landlock: its own
 * program and libraries, the image's files (read), the shares (read, or write
 * where the spec says so) and a few device nodes. Everything else is out of reach
 * for a guest that breaks out into QEMU. seccomp (QEMU's own -sandbox) forbids
 * starting programs; this forbids opening files, and TCP connections when the
 * job has no network.
 */
struct kage_jail_path {
    int fd;           /* an open descriptor of the file or folder, or -1 to use path */
    const char *path; /* absolute; one that does not exist is skipped */
    bool writable;
};

struct kage_jail {
    const char *program; /* QEMU, absolute */
    struct kage_jail_path *paths;
    size_t n_paths;
    bool network; /* may QEMU open TCP connections */
};

/* Makes the ruleset. Returns its descriptor, -1 with err set, or -2 when this kernel has no
 * Landlock (then there is no jail to apply). */
int kage_jail_prepare(const struct kage_jail *jail, struct kage_error *err);

/* For the child between fork and exec: async-signal-safe, returns 0 or an errno. */
int kage_jail_enter(int ruleset_fd);
