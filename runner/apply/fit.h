#pragma once

#include <stdbool.h>
#include <stdint.h>

struct kage_plan;

/* What machines that run at once may use together, and what those that run use. */
struct kage_fit {
    unsigned cpus;   /* of this host that kage may run on */
    uint64_t memory; /* bytes that are available, less a reserve */
    unsigned cpus_used;
    uint64_t memory_used;
};

/* Looks at the host: processors (affinity, cgroup quota) and memory (available, cgroup limit). What
 * cannot be found out does not limit. */
void kage_fit_look(struct kage_fit *fit);

/* Whether one more machine fits. It is counted as using all that it has been given; the first one
 * always fits. */
bool kage_fit_has_room(const struct kage_fit *fit, const struct kage_plan *plan);
void kage_fit_add(struct kage_fit *fit, const struct kage_plan *plan);
void kage_fit_remove(struct kage_fit *fit, const struct kage_plan *plan);
