/* Any bytes as a plan file (`kage apply --plan`) and as a host file (`kage plan --host`). A plan
 * that is taken is printed, and what was printed is taken as the same plan. */
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/host/facts.h"
#include "runner/plan/plan.h"
#include "tests/fuzz/fuzz.h"

static void read_host(const void *data, size_t size)
{
    struct kage_host_facts facts = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    if (kage_host_read(fuzz_file(data, size), &facts, &err) == 0)
        PROMISE(facts.os && facts.arch != KAGE_ARCH_HOST);
    else
        PROMISE(err.message && *err.message);
    kage_host_facts_done(&facts);
    kage_error_done(&err);
}

static void check(const struct kage_plans *plans)
{
    struct kage_buf once = {0}, twice = {0}, human = {0};
    struct kage_plans back = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    PROMISE(plans->n > 0);
    for (size_t i = 0; i < plans->n; i++) {
        const struct kage_plan *p = plans->items[i];
        PROMISE(p->name && p->spec_file && p->qemu && p->arch != KAGE_ARCH_HOST);
        kage_plan_print_human(p, &human);
    }
    kage_plans_print_json(plans, &once);
    if (kage_plans_read(fuzz_file(once.data, once.len), &back, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        PROMISE(!"what was taken once is not taken again");
    }
    kage_plans_print_json(&back, &twice);
    PROMISE(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    kage_plans_done(&back);
    kage_error_done(&err);
    kage_buf_done(&once);
    kage_buf_done(&twice);
    kage_buf_done(&human);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kage_plans plans = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    if (kage_plans_read(fuzz_file(data, size), &plans, &err) == 0)
        check(&plans);
    else
        PROMISE(!plans.n && err.message && *err.message);
    kage_plans_done(&plans);
    kage_error_done(&err);
    read_host(data, size);
    return 0;
}
