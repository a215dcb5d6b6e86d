#pragma once

#include <stdbool.h>
#include <stdint.h>

struct kage_guest;

/* The cgroup of one command; zero-initialised: none. */
struct kage_cgroup {
    int fd;             /* its folder */
    int events_fd;      /* its memory.events, opened before anything happened; -1 */
    int pids_fd;        /* its pids.current; -1 */
    uint64_t processes; /* the limit that is set; 0: none */
    char name[24];
    bool made;
};

/* Takes over the folder behind guest->cgroup_fd: enables the controllers that are there, and, if
 * memory_reserve is not 0, keeps so much of the free memory and some process ids out of the reach
 * of all commands together. */
void kage_cgroups_prepare(struct kage_guest *guest, uint64_t memory_reserve);

/* Limits of 0 mean none. Returns -1 with errno when a limit that was asked for cannot be set. */
int kage_cgroup_make(struct kage_guest *guest, uint64_t max_processes, uint64_t max_memory,
                     struct kage_cgroup *ret);
int kage_cgroup_limit(const struct kage_guest *guest, struct kage_cgroup *cg,
                      uint64_t max_processes, uint64_t max_memory);
/* How many are in it, those included that have ended and were not waited for; 0: not known. */
unsigned long kage_cgroup_processes(const struct kage_cgroup *cg);
void kage_cgroup_kill(const struct kage_cgroup *cg);          /* every process in it */
bool kage_cgroup_out_of_memory(const struct kage_cgroup *cg); /* the OOM killer was here */
void kage_cgroup_done(struct kage_guest *guest, struct kage_cgroup *cg);
