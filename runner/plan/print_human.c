#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/proto/frame.h"
#include "runner/plan/options.h"
#include "runner/plan/parts.h"

/* Where the "# file:line" comments start when the line is not longer. */
#define COMMENT_COLUMN 76

/* Ends the line that starts at `start` with the place it came from. */
static void put_source(struct kage_buf *out, size_t start, struct kage_loc loc)
{
    size_t width = out->len - start;

    kage_buf_addf(out, "%*s# %s", width < COMMENT_COLUMN ? (int)(COMMENT_COLUMN - width) : 2, "",
                  loc.file);
    if (loc.line)
        kage_buf_addf(out, ":%d", loc.line);
    kage_buf_addc(out, '\n');
}

static void put_printable(struct kage_buf *out, const char *s)
{
    KAGE_CLEANUP(kage_freep) char *text = kage_printable(s, strlen(s));

    kage_buf_adds(out, text);
}

static void put_size(struct kage_buf *out, uint64_t bytes)
{
    if (bytes % (1024u * 1024u * 1024u) == 0)
        kage_buf_addf(out, "%" PRIu64 " GiB", bytes / (1024u * 1024u * 1024u));
    else if (bytes % (1024u * 1024u) == 0)
        kage_buf_addf(out, "%" PRIu64 " MiB", bytes / (1024u * 1024u));
    else
        kage_buf_addf(out, "%" PRIu64 " KiB", bytes / 1024u);
}

static void put_machine(struct kage_buf *out, const struct kage_plan *plan)
{
    const struct kage_spec_image *image = &plan->image;
    const char *what = image->name ? image->name : image->kernel ? image->kernel : image->path;
    KAGE_CLEANUP(kage_freep) char *boot = kage_duration_text(plan->boot_timeout_ms);
    KAGE_CLEANUP(kage_freep) char *job = kage_duration_text(plan->timeout_ms);

    kage_buf_addf(out, "\nMachine\n  guest  %s, ", kage_arch_name(plan->arch));
    put_size(out, plan->memory);
    kage_buf_adds(out, " memory");
    if (plan->disk) {
        kage_buf_adds(out, ", ");
        put_size(out, plan->disk);
        kage_buf_adds(out, " scratch disk");
    }
    kage_buf_addf(out, "\n  accel  %s", kage_accel_name(plan->accel));
    if (plan->accel_note) {
        kage_buf_adds(out, " (");
        put_printable(out, plan->accel_note);
        kage_buf_addc(out, ')');
    }
    kage_buf_adds(out, "\n  image  ");
    put_printable(out, what ? what : image->url ? image->url : "?");
    if (image->own_kernel != KAGE_OWN_KERNEL_ANY)
        kage_buf_addf(out, "\n  kernel %s", kage_own_kernel_name(image->own_kernel));
    kage_buf_addf(out, "\n  time   %s to boot, %s in all\n", boot, job);
}

static void put_shares(struct kage_buf *out, const struct kage_plan *plan)
{
    if (!plan->n_shares)
        return;
    kage_buf_adds(out, "\nShares\n");
    for (size_t i = 0; i < plan->n_shares; i++) {
        const struct kage_plan_share *share = &plan->shares[i];
        size_t start = out->len;

        kage_buf_addf(out, "  %s  %s  ", share->tag, share->writable ? "writable " : "read-only");
        put_printable(out, share->name);
        kage_buf_adds(out, " = ");
        put_printable(out, share->path);
        put_source(out, start, share->loc);
    }
}

static void put_qemu(struct kage_buf *out, const struct kage_plan *plan)
{
    kage_buf_adds(out, "\nQEMU\n  ");
    put_printable(out, plan->qemu);
    kage_buf_addc(out, '\n');
    for (size_t i = 0; i < plan->n_args; i++) {
        const struct kage_plan_arg *arg = &plan->args[i];
        size_t start = out->len;

        kage_buf_addf(out, "    %s", arg->text);
        if (kage_cmdline_takes_value(arg->text) && i + 1 < plan->n_args) {
            const char *value = plan->args[++i].text;
            const char *quote = strpbrk(value, " '\"\\$") || !*value ? "'" : "";

            kage_buf_addf(out, " %s", quote);
            put_printable(out, value);
            kage_buf_adds(out, quote);
        }
        put_source(out, start, arg->loc);
    }
}

static void put_ready(struct kage_buf *out, const struct kage_plan_ready *ready)
{
    KAGE_CLEANUP(kage_freep) char *timeout = kage_duration_text(ready->timeout_ms);
    size_t start = out->len;

    kage_buf_addf(out, "      ready: %s within %s", kage_ready_name(ready->kind), timeout);
    put_source(out, start, ready->loc);
    kage_buf_adds(out, "      ");
    put_printable(out, ready->payload ? ready->payload : ready->text);
    kage_buf_addc(out, '\n');
}

static void put_spawn(struct kage_buf *out, const struct kage_plan_step *step)
{
    KAGE_CLEANUP(kage_freep) char *timeout = kage_duration_text(step->timeout_ms);

    kage_buf_adds(out, "  '");
    put_printable(out, step->name);
    kage_buf_addf(out, "', %s, ", kage_when_name(step->when));
    if (step->background)
        kage_buf_adds(out, "in the background, ");
    if (step->timeout_ms)
        kage_buf_addf(out, "within %s, ", timeout);
    kage_buf_adds(out, "exit");
    for (size_t i = 0; i < step->n_expect; i++)
        kage_buf_addf(out, "%s%d", i ? " or " : " ", step->expect[i]);
    if (step->continue_on_error)
        kage_buf_adds(out, ", errors pass");
    if (step->retries)
        kage_buf_addf(out, ", up to %u times", step->retries + 1);
}

static void put_input(struct kage_buf *out, const struct kage_plan_input *input)
{
    size_t start = out->len;

    kage_buf_adds(out, "      reads ");
    put_printable(out, input->path);
    put_source(out, start, input->loc);
}

static void put_frames(struct kage_buf *out, const struct kage_plan *plan)
{
    kage_buf_adds(out, "\nFrames\n");
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct kage_plan_step *step = &plan->steps[i];
        int type = kage_plan_step_type(step->kind);
        size_t start = out->len;

        kage_buf_addf(out, "  %2zu  0x%02x %s", i + 1, (unsigned)type, kage_msg_name(type));
        if (step->kind == KAGE_STEP_SPAWN)
            put_spawn(out, step);
        put_source(out, start, step->loc);
        kage_buf_adds(out, "      ");
        put_printable(out, step->payload);
        kage_buf_addc(out, '\n');
        if (step->ready.kind != KAGE_READY_NONE)
            put_ready(out, &step->ready);
        for (size_t k = 0; k < step->n_inputs; k++)
            put_input(out, &step->inputs[k]);
        if (step->checkpoint)
            kage_buf_adds(out, "      checkpoint: the machine is saved here, and later runs start "
                               "from it\n");
    }
}

static void put_secrets(struct kage_buf *out, const struct kage_plan *plan)
{
    if (plan->n_secrets)
        kage_buf_adds(out, "\nSecrets\n");
    for (size_t i = 0; i < plan->n_secrets; i++) {
        const struct kage_plan_secret *secret = &plan->secrets[i];
        size_t start = out->len;

        kage_buf_addf(out, "  %s from %s ", secret->name,
                      secret->env ? "the variable" : "the file");
        put_printable(out, secret->env ? secret->env : secret->file);
        put_source(out, start, secret->loc);
    }
}

static void put_artifacts(struct kage_buf *out, const struct kage_plan *plan)
{
    if (plan->n_artifacts)
        kage_buf_adds(out, "\nArtifacts\n");
    for (size_t i = 0; i < plan->n_artifacts; i++) {
        const struct kage_plan_artifact *artifact = &plan->artifacts[i];
        size_t start = out->len;

        kage_buf_adds(out, "  ");
        put_printable(out, artifact->path);
        kage_buf_adds(out, " to ");
        put_printable(out, artifact->to);
        kage_buf_addf(out, ", %s%s", kage_when_name(artifact->when),
                      artifact->optional ? ", if it is there" : "");
        put_source(out, start, artifact->loc);
    }
}

void kage_plan_print_human(const struct kage_plan *plan, struct kage_buf *out)
{
    KAGE_CLEANUP(kage_freep) char *label = kage_plan_label(plan);

    kage_buf_adds(out, "Plan for ");
    put_printable(out, label);
    kage_buf_adds(out, " from ");
    put_printable(out, plan->spec_file);
    kage_buf_addc(out, '\n');
    put_machine(out, plan);
    put_shares(out, plan);
    put_qemu(out, plan);
    put_secrets(out, plan);
    put_frames(out, plan);
    put_artifacts(out, plan);
}
