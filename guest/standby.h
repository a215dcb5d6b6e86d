#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest/cgroup.h"

struct kage_guest;
struct kage_launch;
struct kage_refusal;

/*
 * Sandboxes made ahead of the commands that will run in them. Making one is most of
 * a command's start; in a machine that is about to be saved as a template it is done
 * before, so that a restored machine only hands the command over. There are two at
 * most: root's is another one than everybody else's.
 */
struct kage_standby {
    pid_t pid;                     /* 0: there is none */
    int status_fd, out_fd, err_fd; /* as in struct kage_launch */
    int net_fd;                    /* the network it has joined; borrowed */
    struct kage_cgroup cgroup;
};

enum { KAGE_STANDBY_OTHERS, KAGE_STANDBY_ROOT, KAGE_STANDBY_KINDS };

/* What a command needs to run in one. All borrowed. */
struct kage_standby_order {
    bool root;
    int net_fd;
    char *const *argv, *const *env; /* as sandbox-helper takes them; NULL-terminated */
    /* Standard input, output and error; NULL: those that it has, an empty input and two pipes. */
    const int *streams;
    uid_t uid; /* whom its pipes shall belong to */
    gid_t gid;
    uint64_t max_processes, max_memory;
};

/* Makes those that are not there, and waits until they are ready. Where that can be done, they have
 * a limit of max_processes already; 0: none. */
int kage_standby_make(struct kage_guest *guest, uint64_t max_processes, struct kage_refusal *why);

/* Gives one the command. Returns 0 with pid, status_fd, cgroup and, if they were its own, the
 * streams of *ret set; -1 when there is none that can take it, and the command is to be started as
 * usual. */
int kage_standby_order(struct kage_guest *guest, const struct kage_standby_order *order,
                       struct kage_launch *ret);

/* Its helper has ended and was waited for, whoever did that. */
void kage_standby_reaped(struct kage_guest *guest, pid_t pid);

void kage_standby_done(struct kage_guest *guest);
