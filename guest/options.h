#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"

/* How vmd is run as an ordinary program. As PID 1 it has no options. All text is borrowed from
 * argv but `address`. */
struct kage_vmd_options {
    char *address;
    uint16_t port;
    const char *token_file;
    const char *helper;
    const char *builtin; /* NULL: none */
    const char *root;    /* NULL: nothing on this system is changed */
    const char *cgroup;  /* NULL: no limits */
    int control_fd;      /* an inherited descriptor to serve like the control port; -1: none */
    bool help, version;
};

int kage_vmd_options_parse(int argc, char **argv, struct kage_vmd_options *ret,
                           struct kage_error *err);
void kage_vmd_options_done(struct kage_vmd_options *options);

extern const char kage_vmd_usage[];
