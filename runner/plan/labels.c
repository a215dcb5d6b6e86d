#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/plan/plan.h"

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

void kage_plans_label(struct kage_plans *plans)
{
    char **plain = kage_alloc((plans->n + 1) * sizeof *plain);

    for (size_t i = 0; i < plans->n; i++) {
        kage_freep(&plans->items[i]->label);
        plain[i] = kage_plan_label(plans->items[i]);
    }
    for (size_t i = 0; i < plans->n; i++) {
        struct kage_plan *plan = plans->items[i];
        size_t again = 0, before = 0;
        bool elsewhere = false;

        for (size_t k = 0; k < plans->n; k++) {
            bool here = same(plans->items[k]->spec_file, plan->spec_file);

            if (k == i || !same(plain[k], plain[i]))
                continue;
            elsewhere |= !here;
            again += here;
            before += here && k < i;
        }
        if (elsewhere && again)
            plan->label = kage_asprintf("%s [%s] #%zu", plain[i], plan->spec_file, before + 1);
        else if (elsewhere)
            plan->label = kage_asprintf("%s [%s]", plain[i], plan->spec_file);
        else if (again)
            plan->label = kage_asprintf("%s #%zu", plain[i], before + 1);
    }
    for (size_t i = 0; i < plans->n; i++)
        free(plain[i]);
    free(plain);
}

unsigned kage_plan_cpus(const struct kage_plan *plan)
{
    for (size_t i = 0; i + 1 < plan->n_args; i++)
        if (same(plan->args[i].text, "-smp"))
            return (unsigned)strtoul(plan->args[i + 1].text, NULL, 10);
    return 1;
}
