#include "runner/plan/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/plan/parts.h"
#include "runner/spec/below.h"
#include "runner/yaml/arena.h"

/* How long a guest may take until vmd answers. Generous, as it only ends what will not come up:
 * under software emulation a boot takes 2 to 9 s on an idle machine, and a machine running many
 * at once is slower by as many times. */
#define BOOT_TIMEOUT_TCG_MS 180000u
#define BOOT_TIMEOUT_HARDWARE_MS 30000u

struct kage_loc kage_plan_loc(const struct kage_plan *plan, struct kage_loc loc)
{
    loc.file = plan->spec_file;
    return loc;
}

struct kage_plan_step *kage_plan_add_step(struct kage_plan *plan, enum kage_plan_step_kind kind,
                                          struct kage_loc loc)
{
    struct kage_plan_step *step;

    plan->steps = kage_realloc(plan->steps, (plan->n_steps + 1) * sizeof(*plan->steps));
    step = &plan->steps[plan->n_steps++];
    *step = (struct kage_plan_step){.kind = kind, .loc = kage_plan_loc(plan, loc)};
    return step;
}

static void copy_image(const struct kage_spec *spec, struct kage_plan *plan)
{
    const struct kage_spec_image *from = &spec->image;

    plan->image = (struct kage_spec_image){
        .form = from->form,
        .loc = kage_plan_loc(plan, from->loc),
        .name = kage_strdup(from->name),
        .url = kage_strdup(from->url),
        .digest = kage_strdup(from->digest),
        .path = kage_strdup(from->path),
        .kernel = kage_strdup(from->kernel),
        .initrd = kage_strdup(from->initrd),
        .rootfs = kage_strdup(from->rootfs),
        .cmdline = kage_strdup(from->cmdline),
        .own_kernel = spec->machine.kernel,
    };
}

bool kage_image_has_rootfs(const struct kage_spec_image *image)
{
    switch (image->form) {
    case KAGE_IMAGE_STORE:
        return strcmp(image->name, "tiny") != 0;
    case KAGE_IMAGE_KERNEL:
        return image->rootfs != NULL;
    case KAGE_IMAGE_URL:
    case KAGE_IMAGE_PATH:
        break;
    }
    return true;
}

/* Tags are numbered and not the spec's names: a 9p tag has at most 31 bytes (MAX_TAG_LEN in QEMU's
 * hw/9pfs/9p.h), and the machine stays the same whatever the shares are called. */
static void copy_shares(const struct kage_spec *spec, struct kage_plan *plan)
{
    plan->shares = kage_alloc((spec->n_shares + 1) * sizeof(*plan->shares));
    for (size_t i = 0; i < spec->n_shares; i++) {
        const struct kage_spec_share *share = &spec->shares[i];

        plan->shares[plan->n_shares++] = (struct kage_plan_share){
            .name = kage_strdup(share->name),
            .tag = kage_asprintf("share%zu", i),
            .path = kage_strdup(share->path),
            .writable = share->writable,
            .loc = kage_plan_loc(plan, share->loc),
        };
    }
}

const struct kage_plan_share *kage_plan_share_of(const struct kage_plan *plan, const char *path,
                                                 char **ret_below)
{
    const struct kage_plan_share *found = NULL;

    *ret_below = NULL;
    for (size_t i = 0; i < plan->n_shares; i++) {
        char *below = kage_path_below(plan->shares[i].path, path);

        if (below && (!found || strlen(below) < strlen(*ret_below))) {
            free(*ret_below);
            *ret_below = below;
            found = &plan->shares[i];
        } else {
            free(below);
        }
    }
    return found;
}

/* A secret that no command gets need not be there. */
static void copy_secrets(const struct kage_spec *spec, struct kage_plan *plan)
{
    plan->secrets = kage_alloc((spec->n_secrets + 1) * sizeof(*plan->secrets));
    for (size_t i = 0; i < spec->n_secrets; i++) {
        const struct kage_spec_secret *secret = &spec->secrets[i];

        if (kage_spec_uses_secret(spec, secret->name))
            plan->secrets[plan->n_secrets++] =
                (struct kage_plan_secret){.name = kage_strdup(secret->name),
                                          .env = kage_strdup(secret->env),
                                          .file = kage_strdup(secret->file),
                                          .loc = kage_plan_loc(plan, secret->loc)};
    }
}

static void copy_artifacts(const struct kage_spec *spec, struct kage_plan *plan)
{
    plan->artifacts = kage_alloc((spec->n_artifacts + 1) * sizeof(*plan->artifacts));
    if (spec->n_artifacts)
        plan->folder = kage_strdup(spec->folder);
    for (size_t i = 0; i < spec->n_artifacts; i++) {
        const struct kage_spec_artifact *artifact = &spec->artifacts[i];

        plan->artifacts[plan->n_artifacts++] =
            (struct kage_plan_artifact){.path = kage_strdup(artifact->path),
                                        .to = kage_strdup(artifact->to),
                                        .when = artifact->when,
                                        .optional = artifact->optional,
                                        .loc = kage_plan_loc(plan, artifact->loc)};
    }
}

static void copy_matrix(const struct kage_spec *spec, struct kage_plan *plan)
{
    plan->matrix = kage_alloc((spec->n_matrix + 1) * sizeof(*plan->matrix));
    for (size_t i = 0; i < spec->n_matrix; i++)
        plan->matrix[plan->n_matrix++] = (struct kage_spec_choice){
            .axis = kage_strdup(spec->matrix[i].axis), .value = kage_strdup(spec->matrix[i].value)};
}

char *kage_plan_label(const struct kage_plan *plan)
{
    struct kage_buf text = {0};

    if (plan->label)
        return kage_strdup(plan->label);
    kage_buf_adds(&text, plan->name);
    for (size_t i = 0; i < plan->n_matrix; i++)
        kage_buf_addf(&text, "%s%s=%s", i ? ", " : " (", plan->matrix[i].axis,
                      plan->matrix[i].value);
    if (plan->n_matrix)
        kage_buf_addc(&text, ')');
    return kage_buf_take(&text);
}

static int fail_accel(const struct kage_spec *spec, const struct kage_plan *plan, const char *why,
                      struct kage_error *err)
{
    kage_error_set(err, KAGE_CLASS_HOST,
                   "the spec asks for accel %s, which this host cannot give: %s; `accel: auto` "
                   "takes the fastest that works",
                   kage_accel_name(spec->machine.accel), why);
    if (err)
        err->loc = kage_plan_loc(plan, spec->machine.accel_loc);
    return -1;
}

char *kage_plan_accel_obstacle(const struct kage_host_facts *facts, enum kage_arch guest,
                               enum kage_accel accel)
{
    const char *why = accel == KAGE_ACCEL_HVF ? facts->hvf_why : facts->kvm_why;

    if (guest != facts->arch)
        return kage_asprintf("the guest is %s and the host %s", kage_arch_name(guest),
                             kage_arch_name(facts->arch));
    if (accel == KAGE_ACCEL_HVF ? facts->hvf : facts->kvm)
        return NULL;
    return kage_strdup(why ? why : "it has not been shown to work here");
}

int kage_plan_accel(const struct kage_spec *spec, const struct kage_host_facts *facts,
                    struct kage_plan *plan, struct kage_error *err)
{
    enum kage_accel native = strcmp(facts->os, "macos") == 0 ? KAGE_ACCEL_HVF : KAGE_ACCEL_KVM;
    enum kage_accel wanted = spec->machine.accel;
    KAGE_CLEANUP(kage_freep) char *why = NULL;

    plan->accel = wanted;
    if (wanted == KAGE_ACCEL_TCG)
        return 0;
    if (wanted == KAGE_ACCEL_AUTO) {
        why = kage_plan_accel_obstacle(facts, plan->arch, native);
        plan->accel = why ? KAGE_ACCEL_TCG : native;
        if (why)
            plan->accel_note = kage_asprintf("not %s: %s", kage_accel_name(native), why);
        return 0;
    }
    if (wanted != native)
        return fail_accel(
            spec, plan, wanted == KAGE_ACCEL_KVM ? "KVM is part of Linux" : "HVF is part of macOS",
            err);
    why = kage_plan_accel_obstacle(facts, plan->arch, wanted);
    return why ? fail_accel(spec, plan, why, err) : 0;
}

int kage_plan_make(const struct kage_spec *spec, const struct kage_host_facts *facts,
                   struct kage_plan **ret, struct kage_error *err)
{
    struct kage_plan *plan = kage_alloc(sizeof(*plan));

    plan->name = kage_strdup(spec->name);
    plan->spec_file = kage_strdup(spec->file);
    plan->arch = spec->machine.arch == KAGE_ARCH_HOST ? facts->arch : spec->machine.arch;
    copy_image(spec, plan);
    copy_shares(spec, plan);
    copy_secrets(spec, plan);
    copy_artifacts(spec, plan);
    copy_matrix(spec, plan);
    plan->memory = spec->machine.memory;
    plan->disk = spec->machine.disk;
    plan->timeout_ms = spec->timeout_ms;
    plan->output_limit = spec->limits.output;
    if (kage_plan_accel(spec, facts, plan, err) < 0 || kage_plan_qemu(spec, facts, plan, err) < 0 ||
        kage_plan_frames(spec, plan, err) < 0) {
        /* The location outlives the plan. */
        if (err && err->loc.file)
            err->loc.file = spec->file;
        kage_plan_free(plan);
        return -1;
    }
    plan->boot_timeout_ms =
        plan->accel == KAGE_ACCEL_TCG ? BOOT_TIMEOUT_TCG_MS : BOOT_TIMEOUT_HARDWARE_MS;
    *ret = plan;
    return 0;
}

/* The absolute path of an existing file, in the spec's memory; NULL with err set. */
static char *real_path(struct kage_spec *spec, const char *path, struct kage_error *err)
{
    char *real = realpath(path, NULL), *copy;

    if (!real) {
        kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot open %s", path);
        return NULL;
    }
    copy = kage_arena_strdup(spec->arena, real);
    free(real);
    return copy;
}

int kage_plan_use_kernel(struct kage_spec *spec, const char *kernel, const char *initrd,
                         struct kage_error *err)
{
    struct kage_spec_image image = {.form = KAGE_IMAGE_KERNEL, .loc = spec->image.loc};
    int own = kage_own_kernel_from(kernel);

    if (own >= 0 && spec->image.form == KAGE_IMAGE_KERNEL)
        return kage_error_set(err, KAGE_CLASS_SPEC,
                              "the image has a kernel of its own, so kage's kernel '%s' cannot "
                              "boot it; for a file of that name, write ./%s",
                              kernel, kernel);
    if (own >= 0 && initrd)
        return kage_error_set(err, KAGE_CLASS_SPEC,
                              "kage's kernel '%s' has its own initramfs; leave out --initrd, or "
                              "write ./%s for a file of that name",
                              kernel, kernel);
    if (own >= 0) {
        spec->machine.kernel = (enum kage_own_kernel)own;
        return 0;
    }
    spec->machine.kernel = KAGE_OWN_KERNEL_ANY;
    image.kernel = real_path(spec, kernel, err);
    if (image.kernel && initrd)
        image.initrd = real_path(spec, initrd, err);
    if (!image.kernel || (initrd && !image.initrd))
        return -1;
    spec->image = image;
    return 0;
}

static void image_done(struct kage_spec_image *image)
{
    kage_freep(&image->name);
    kage_freep(&image->url);
    kage_freep(&image->digest);
    kage_freep(&image->path);
    kage_freep(&image->kernel);
    kage_freep(&image->initrd);
    kage_freep(&image->rootfs);
    kage_freep(&image->cmdline);
}

static void step_done(struct kage_plan_step *step)
{
    kage_freep(&step->payload);
    kage_freep(&step->name);
    kage_freep(&step->expect);
    kage_freep(&step->ready.payload);
    kage_freep(&step->ready.text);
    for (size_t i = 0; i < step->n_secrets; i++)
        kage_freep(&step->secrets[i]);
    kage_freep(&step->secrets);
    for (size_t i = 0; i < step->n_inputs; i++)
        kage_freep(&step->inputs[i].path);
    kage_freep(&step->inputs);
}

static void outcome_done(struct kage_plan *plan)
{
    for (size_t i = 0; i < plan->n_secrets; i++) {
        kage_freep(&plan->secrets[i].name);
        kage_freep(&plan->secrets[i].env);
        kage_freep(&plan->secrets[i].file);
    }
    for (size_t i = 0; i < plan->n_artifacts; i++) {
        kage_freep(&plan->artifacts[i].path);
        kage_freep(&plan->artifacts[i].to);
    }
    for (size_t i = 0; i < plan->n_matrix; i++) {
        kage_freep(&plan->matrix[i].axis);
        kage_freep(&plan->matrix[i].value);
    }
    kage_freep(&plan->secrets);
    kage_freep(&plan->artifacts);
    kage_freep(&plan->matrix);
    kage_freep(&plan->folder);
}

void kage_plans_done(struct kage_plans *plans)
{
    for (size_t i = 0; i < plans->n; i++)
        kage_plan_free(plans->items[i]);
    kage_freep(&plans->items);
    plans->n = 0;
}

void kage_plan_free(struct kage_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->n_args; i++)
        kage_freep(&plan->args[i].text);
    for (size_t i = 0; i < plan->n_shares; i++) {
        kage_freep(&plan->shares[i].name);
        kage_freep(&plan->shares[i].tag);
        kage_freep(&plan->shares[i].path);
    }
    for (size_t i = 0; i < plan->n_steps; i++)
        step_done(&plan->steps[i]);
    outcome_done(plan);
    image_done(&plan->image);
    kage_freep(&plan->args);
    kage_freep(&plan->shares);
    kage_freep(&plan->steps);
    kage_freep(&plan->name);
    kage_freep(&plan->label);
    kage_freep(&plan->spec_file);
    kage_freep(&plan->accel_note);
    kage_freep(&plan->qemu);
    kage_freep(&plan);
}
