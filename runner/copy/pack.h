#pragma once

#include <stdbool.h>

#include "common/base/error.h"

/* What goes into the archive for one file or folder of the host. */
struct kage_pack {
    const char *source;
    const char *top; /* its name in the archive, also of several parts: "usr/local/bin/x" */
    bool contents;   /* of a folder: only what is in it, directly below the archive's root */
    bool follow;     /* what links point to instead of the links */
    int mode;        /* instead of the source's own; -1: keep that */
    bool only_file;  /* anything but a regular file is an error */
};

/* Writes a tar archive of it to fd. Owners are left out. Sockets, FIFOs and devices are passed over
 * with a warning on standard error. */
int kage_pack(const struct kage_pack *what, int fd, struct kage_error *err);
