#include "runner/apply/fit.h"

#include <limits.h>

#include "runner/host/capacity.h"
#include "runner/plan/plan.h"

/* Memory of a machine that is QEMU's, beside the guest's. */
#define OVERHEAD (UINT64_C(64) << 20)
/* Of what is available this part is left to others: numerator over denominator stays for kage. */
#define SHARE_OF 4
#define SHARE 3

void kage_fit_look(struct kage_fit *fit)
{
    struct kage_host_capacity host;

    kage_host_read_capacity("", &host);
    *fit = (struct kage_fit){.cpus = host.cpus ? host.cpus : UINT_MAX, .memory = UINT64_MAX};
    if (host.memory_free)
        fit->memory = host.memory_free / SHARE_OF * SHARE;
}

static uint64_t memory_of(const struct kage_plan *plan)
{
    return plan->memory + OVERHEAD;
}

bool kage_fit_has_room(const struct kage_fit *fit, const struct kage_plan *plan)
{
    uint64_t left = fit->memory > fit->memory_used ? fit->memory - fit->memory_used : 0;

    return !fit->cpus_used ||
           (fit->cpus_used + kage_plan_cpus(plan) <= fit->cpus && memory_of(plan) <= left);
}

void kage_fit_add(struct kage_fit *fit, const struct kage_plan *plan)
{
    fit->cpus_used += kage_plan_cpus(plan);
    fit->memory_used += memory_of(plan);
}

void kage_fit_remove(struct kage_fit *fit, const struct kage_plan *plan)
{
    fit->cpus_used -= kage_plan_cpus(plan);
    fit->memory_used -= memory_of(plan);
}
