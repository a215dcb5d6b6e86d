/* Any bytes as a spec; one that checks clean is planned, or this host cannot run it. The same spec
 * gives the same plan, byte for byte, and reading a plan back gives it once more. */
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/diag/diag.h"
#include "runner/host/facts.h"
#include "runner/plan/plan.h"
#include "runner/spec/spec.h"
#include "tests/fuzz/fuzz.h"

/* Plans of more than this many values are another matter: they are as long as they are. */
#define TEXT_MAX ((size_t)8 * 1024 * 1024)

static int make(const struct kage_spec *first, struct kage_plans *ret)
{
    struct kage_host_facts facts = {.os = (char *)"linux",
                                    .arch = KAGE_ARCH_X86_64,
                                    .qemu = (char *)"/usr/bin/qemu-system-x86_64",
                                    .qemu_version = {7, 2, 0},
                                    .kvm_why = (char *)"/dev/kvm is absent"};
    size_t n = 0;
    for (const struct kage_spec *s = first; s; s = s->next_job)
        n++;
    ret->items = kage_alloc(n * sizeof(*ret->items));
    for (const struct kage_spec *s = first; s; s = s->next_job) {
        struct kage_error err = KAGE_ERROR_INIT;
        /* a guest of another architecture has another QEMU */
        facts.qemu = s->machine.arch == KAGE_ARCH_AARCH64 ? (char *)"/usr/bin/qemu-system-aarch64"
                                                          : (char *)"/usr/bin/qemu-system-x86_64";
        int r = kage_plan_make(s, &facts, &ret->items[ret->n], &err);
        if (r < 0) {
            PROMISE(err.message && *err.message);
            PROMISE(err.class == KAGE_CLASS_HOST || err.class == KAGE_CLASS_SPEC);
        }
        kage_error_done(&err);
        if (r < 0)
            return -1;
        ret->n++;
    }
    return 0;
}

static void print(const struct kage_plans *plans, struct kage_buf *json, struct kage_buf *human)
{
    kage_plans_print_json(plans, json);
    for (size_t i = 0; i < plans->n; i++)
        kage_plan_print_human(plans->items[i], human);
}

static bool equal(const struct kage_buf *a, const struct kage_buf *b)
{
    return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

static void plan(const struct kage_spec *spec)
{
    struct kage_plans plans = {0}, again = {0}, back = {0};
    struct kage_buf json = {0}, json2 = {0}, json3 = {0};
    struct kage_buf human = {0}, human2 = {0}, human3 = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    bool made = make(spec, &plans) == 0;
    PROMISE((make(spec, &again) == 0) == made);
    if (made) {
        print(&plans, &json, &human);
        print(&again, &json2, &human2);
        PROMISE(equal(&json, &json2) && equal(&human, &human2));
    }
    if (made && json.len < TEXT_MAX) {
        if (kage_plans_read(fuzz_file(json.data, json.len), &back, &err) < 0) {
            fprintf(stderr, "%s\n", err.message);
            PROMISE(!"a plan of ours is not taken back");
        }
        print(&back, &json3, &human3);
        PROMISE(equal(&json, &json3) && equal(&human, &human3));
    }
    struct kage_buf *const all[] = {&json, &json2, &json3, &human, &human2, &human3};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        kage_buf_done(all[i]);
    kage_plans_done(&plans);
    kage_plans_done(&again);
    kage_plans_done(&back);
    kage_error_done(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kage_diags *diags = kage_diags_new();
    struct kage_spec *spec = NULL;
    setenv("HOME", "/home/me", 1);
    int r = kage_spec_load_text("fuzz.yaml", fuzz_folder(), (const char *)data, size, &spec, diags);
    if (r == 0 && kage_diags_count(diags, KAGE_ERROR) == 0)
        plan(spec);
    kage_spec_free(spec);
    kage_diags_free(diags);
    return 0;
}
