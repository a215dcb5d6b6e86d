#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/needs/parts.h"
#include "runner/plan/parts.h"
#include "runner/plan/plan.h"

/* Returns whether the spec's own choice can be planned with. */
static bool check_accel(const struct kage_spec *spec, const struct kage_host_facts *facts,
                        struct kage_diags *diags)
{
    enum kage_accel native = strcmp(facts->os, "macos") == 0 ? KAGE_ACCEL_HVF : KAGE_ACCEL_KVM;
    enum kage_accel wanted = spec->machine.accel;
    enum kage_arch guest = spec->machine.arch == KAGE_ARCH_HOST ? facts->arch : spec->machine.arch;
    struct kage_finding *f;
    KAGE_CLEANUP(kage_freep) char *why = NULL;

    if (wanted == KAGE_ACCEL_TCG)
        return true;
    if (wanted != KAGE_ACCEL_AUTO && wanted != native)
        why =
            kage_strdup(wanted == KAGE_ACCEL_KVM ? "KVM is part of Linux" : "HVF is part of macOS");
    else
        why = kage_plan_accel_obstacle(facts, guest, native);
    if (!why)
        return true;
    if (wanted != KAGE_ACCEL_AUTO) {
        f = kage_diags_add(diags, K603_NO_ACCEL, kage_needs_place(spec, spec->machine.accel_loc),
                           "%s does not work here: %s", kage_accel_name(wanted), why);
        kage_finding_help(f, "accel: auto takes the fastest that works");
        return false;
    }
    f = kage_diags_add(diags, K604_EMULATED, kage_needs_place(spec, spec->machine.accel_loc),
                       "the guest will be emulated, several times slower than with %s: %s",
                       kage_accel_name(native), why);
    kage_finding_help(f, "give the timeouts room, or write machine: {accel: tcg} if this is meant");
    return true;
}

/* What an option is about. */
static const struct {
    const char *flag, *kind;
} kinds[] = {
    {"-device", "device"},
    {"-machine", "board"},
    {"-accel", "accelerator"},
    {"-netdev", "network of the kind"},
};

static bool lacks(const char *list, const char *flag, const char *value, size_t len)
{
    KAGE_CLEANUP(kage_freep) char *line = kage_asprintf("%s %.*s\n", flag, (int)len, value);
    const char *found = strstr(list, line);

    return found && (found == list || found[-1] == '\n');
}

/* Whether an earlier option says the same: of two shares one is told of. */
static bool is_repeated(const struct kage_plan *plan, size_t i, size_t len)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(plan->args[k].text, plan->args[i].text) == 0 &&
            strncmp(plan->args[k + 1].text, plan->args[i + 1].text, len) == 0 &&
            strchr(",", plan->args[k + 1].text[len]))
            return true;
    return false;
}

/* The plan says what of QEMU the spec needs, and which line needs it. */
static void check_parts(const struct kage_spec *spec, const struct kage_plan *plan,
                        const struct kage_host_facts *facts, struct kage_diags *diags)
{
    for (size_t i = 0; facts->qemu_lacks && i + 1 < plan->n_args; i++) {
        const char *flag = plan->args[i].text, *value = plan->args[i + 1].text;
        size_t len = strcspn(value, ","), k = 0;
        bool sandbox = strcmp(flag, "-sandbox") == 0;
        struct kage_finding *f;

        if (!lacks(facts->qemu_lacks, flag, value, sandbox ? strlen(value) : len) ||
            is_repeated(plan, i, len))
            continue;
        while (k < sizeof(kinds) / sizeof(kinds[0]) - 1 && strcmp(kinds[k].flag, flag) != 0)
            k++;
        if (sandbox)
            f = kage_diags_add(diags, K602_QEMU_LACKS, kage_needs_place(spec, plan->args[i].loc),
                               "%s was built without seccomp, which holds it in its jail",
                               plan->qemu);
        else
            f = kage_diags_add(diags, K602_QEMU_LACKS, kage_needs_place(spec, plan->args[i].loc),
                               "%s has no %s '%.*s'", plan->qemu, kinds[k].kind, (int)len, value);
        kage_finding_help(f, "take another build of QEMU; those of Debian, Ubuntu and Fedora have "
                             "all that kage needs");
    }
}

void kage_needs_check_machine(const struct kage_spec *spec, const struct kage_host_facts *facts,
                              struct kage_diags *diags)
{
    struct kage_spec planned = *spec;
    struct kage_plan *plan = NULL;
    struct kage_error err = KAGE_ERROR_INIT;

    if (!check_accel(spec, facts, diags))
        planned.machine.accel = KAGE_ACCEL_AUTO;
    if (kage_plan_make(&planned, facts, &plan, &err) == 0)
        check_parts(spec, plan, facts, diags);
    else
        kage_needs_say(diags, K601_NO_QEMU,
                       kage_needs_place(spec, err.loc.line ? err.loc : spec->machine.arch_loc),
                       &err, "install a newer QEMU");
    kage_plan_free(plan);
    kage_error_done(&err);
}

void kage_needs_check_capacity(const struct kage_spec *spec,
                               const struct kage_host_capacity *capacity, struct kage_diags *diags)
{
    const struct kage_spec_machine *machine = &spec->machine;
    struct kage_finding *f;
    char wanted[32], there[32];

    kage_needs_size(machine->memory, wanted);
    if (capacity->cpus && machine->cpus > capacity->cpus) {
        f = kage_diags_add(diags, K605_FEW_CPUS, kage_needs_place(spec, machine->cpus_loc),
                           "the guest gets %u processors, and kage may use %u here", machine->cpus,
                           capacity->cpus);
        kage_finding_help(f, "cpus: %u is the most that run at once", capacity->cpus);
    }
    if (capacity->memory && machine->memory > capacity->memory) {
        f = kage_diags_add(diags, K606_NO_MEMORY, kage_needs_place(spec, machine->memory_loc),
                           "the guest gets %s, and a program can get %s here", wanted,
                           kage_needs_size(capacity->memory, there));
        kage_finding_help(f, "lower it, or run this on a larger machine");
    } else if (capacity->memory_free && machine->memory > capacity->memory_free) {
        f = kage_diags_add(diags, K607_LITTLE_MEMORY, kage_needs_place(spec, machine->memory_loc),
                           "the guest gets %s, and %s are free here", wanted,
                           kage_needs_size(capacity->memory_free, there));
        kage_finding_help(f, "lower it, end other programs, or raise the container's limit");
    }
}
