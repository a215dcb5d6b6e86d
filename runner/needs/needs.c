#include "runner/needs/needs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/host/qemu_parts.h"
#include "runner/needs/parts.h"

/* The answers for one kind of guest: another architecture has a QEMU of its own, and a spec that
 * wants emulation needs no test guest. */
struct answer {
    enum kage_arch arch;
    enum kage_accel accel;
    struct kage_host_facts facts;
    struct kage_error err; /* without a message: the facts are there */
};

struct kage_needs {
    struct answer answers[KAGE_ARCH_COUNT * KAGE_ACCEL_COUNT];
    size_t n;
    struct kage_host_facts *given; /* from a file, for all kinds; may be NULL */
    struct kage_host_capacity capacity;
};

struct kage_needs *kage_needs_new(const char *facts, struct kage_error *err)
{
    struct kage_needs *needs = kage_alloc(sizeof(*needs));

    if (!facts) {
        kage_host_read_capacity("", &needs->capacity);
        return needs;
    }
    needs->given = kage_alloc(sizeof(*needs->given));
    if (kage_host_read(facts, needs->given, err) < 0)
        kage_needs_freep(&needs);
    else
        needs->capacity = needs->given->capacity;
    return needs;
}

void kage_needs_freep(struct kage_needs **needs)
{
    struct kage_needs *n = *needs;

    for (size_t i = 0; n && i < n->n; i++) {
        kage_host_facts_done(&n->answers[i].facts);
        kage_error_done(&n->answers[i].err);
    }
    if (n && n->given) {
        kage_host_facts_done(n->given);
        kage_freep(&n->given);
    }
    kage_freep(needs);
}

static const struct answer *look(struct kage_needs *needs, const struct kage_spec *spec)
{
    struct answer *a;

    for (size_t i = 0; i < needs->n; i++)
        if (needs->answers[i].arch == spec->machine.arch &&
            needs->answers[i].accel == spec->machine.accel)
            return &needs->answers[i];
    a = &needs->answers[needs->n++];
    a->arch = spec->machine.arch;
    a->accel = spec->machine.accel;
    if (kage_host_probe(a->arch, a->accel, &a->facts, &a->err) == 0)
        kage_host_ask_qemu_parts(&a->facts);
    return a;
}

struct kage_span kage_needs_place(const struct kage_spec *spec, struct kage_loc at)
{
    bool written = at.line != spec->loc.line || at.col != spec->loc.col;

    return (struct kage_span){written ? at : spec->image.loc, KAGE_SPAN_WORD};
}

void kage_needs_say(struct kage_diags *diags, enum kage_diag_code code, struct kage_span at,
                    const struct kage_error *err, const char *help)
{
    const char *message = err->message ? err->message : "it cannot be had";
    const char *advice = strstr(message, "; ");
    int n = advice ? (int)(advice - message) : (int)strlen(message);
    struct kage_finding *f = kage_diags_add(diags, code, at, "%.*s", n, message);

    if (advice)
        kage_finding_help(f, "%s", advice + 2);
    else if (help)
        kage_finding_help(f, "%s", help);
}

const char *kage_needs_size(uint64_t bytes, char text[32])
{
    uint64_t mib = bytes >> 20;

    if (bytes % (UINT64_C(1) << 30) == 0)
        snprintf(text, 32, "%" PRIu64 " GiB", bytes >> 30);
    else if (mib < 10000)
        snprintf(text, 32, "%" PRIu64 " MiB", mib);
    else
        snprintf(text, 32, "%.1f GiB", (double)mib / 1024);
    return text;
}

/* Large images have their digest taken, which is not to happen for each job of a matrix. */
static bool same_image(const struct kage_spec *a, const struct kage_spec *b)
{
    const char *of_a[] = {a->image.name,   a->image.url,    a->image.digest, a->image.path,
                          a->image.kernel, a->image.initrd, a->image.rootfs};
    const char *of_b[] = {b->image.name,   b->image.url,    b->image.digest, b->image.path,
                          b->image.kernel, b->image.initrd, b->image.rootfs};

    for (size_t i = 0; i < sizeof(of_a) / sizeof(of_a[0]); i++)
        if ((of_a[i] || of_b[i]) && (!of_a[i] || !of_b[i] || strcmp(of_a[i], of_b[i]) != 0))
            return false;
    return a->image.form == b->image.form && a->machine.kernel == b->machine.kernel &&
           a->machine.arch == b->machine.arch;
}

static void check_job(struct kage_needs *needs, const struct kage_spec *spec,
                      const struct kage_spec *earlier, struct kage_diags *diags)
{
    const struct answer *a = needs->given ? NULL : look(needs, spec);

    if (a && a->err.message)
        kage_needs_say(diags, K601_NO_QEMU, kage_needs_place(spec, spec->machine.arch_loc), &a->err,
                       "see that it runs: try it with --version");
    else
        kage_needs_check_machine(spec, a ? &a->facts : needs->given, diags);
    kage_needs_check_capacity(spec, &needs->capacity, diags);
    if (!earlier || !same_image(spec, earlier))
        kage_needs_check_image(spec, needs->capacity.disk_free, diags);
    if (!earlier || spec->machine.disk != earlier->machine.disk)
        kage_needs_check_scratch(spec, needs->capacity.disk_free, diags);
    kage_needs_check_folders(spec, diags);
    kage_needs_check_secrets(spec, diags);
    kage_needs_check_ports(spec, diags);
}

void kage_needs_check(struct kage_needs *needs, const struct kage_spec *spec,
                      struct kage_diags *diags)
{
    const struct kage_spec *earlier = NULL;

    for (const struct kage_spec *job = spec; job; earlier = job, job = job->next_job)
        check_job(needs, job, earlier, diags);
    kage_diags_suppress_again(diags, spec->file);
}
