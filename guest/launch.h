#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "guest/cgroup.h"

struct kage_guest;
struct kage_msg;
struct kage_refusal;

/* A helper that has been started, and vmd's ends of what connects to it. */
struct kage_launch {
    pid_t pid;
    uid_t uid;
    int status_fd; /* SOCK_SEQPACKET, see common/proto/sandbox.h */
    int in_fd;     /* -1 when standard input is /dev/null */
    int out_fd;    /* the pty master when there is one */
    int err_fd;    /* -1 with a pty */
    int slave_fd;  /* pty only: keeps the terminal alive until the command has it */
    struct kage_cgroup cgroup;
    bool confined; /* nothing of the command can leave its cgroup: in a root of vmd's own it reaches
                      no folder of cgroups, if it has a sandbox */
};

/* Resolves the user, builds environment and helper arguments, and starts sandbox-helper. */
int kage_launch(struct kage_guest *guest, const struct kage_msg *request, struct kage_launch *ret,
                struct kage_refusal *why);

/* Starts a helper that waits for its command: see guest/standby.h, which is who calls this. It has
 * pipes for output and nothing to read. */
int kage_launch_waiting(struct kage_guest *guest, bool root, int net_fd, uint64_t max_processes,
                        struct kage_launch *ret, struct kage_refusal *why);
