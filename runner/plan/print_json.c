#include <inttypes.h>
#include <string.h>

#include "common/proto/frame.h"
#include "runner/plan/parts.h"
#include "runner/plan/strict_json.h"

static void put_text(struct kage_buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    kage_buf_addf(out, "  \"%s\": ", name);
    kage_json_put(out, value);
    kage_buf_adds(out, ",\n");
}

static void put_number(struct kage_buf *out, const char *name, uint64_t value)
{
    kage_buf_addf(out, "  \"%s\": %" PRIu64 ",\n", name, value);
}

static void put_loc(struct kage_buf *out, struct kage_loc loc)
{
    kage_buf_addf(out, "\"line\": %d, \"col\": %d", loc.line, loc.col);
}

static void put_member(struct kage_buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    kage_buf_addf(out, "\"%s\": ", name);
    kage_json_put(out, value);
    kage_buf_adds(out, ", ");
}

static void put_image(struct kage_buf *out, const struct kage_spec_image *image)
{
    kage_buf_adds(out, "  \"image\": {");
    put_member(out, "form", kage_image_form_name(image->form));
    put_member(out, "name", image->name);
    put_member(out, "url", image->url);
    put_member(out, "digest", image->digest);
    put_member(out, "path", image->path);
    put_member(out, "kernel", image->kernel);
    put_member(out, "initrd", image->initrd);
    put_member(out, "rootfs", image->rootfs);
    put_member(out, "cmdline", image->cmdline);
    if (image->own_kernel != KAGE_OWN_KERNEL_ANY)
        put_member(out, "own_kernel", kage_own_kernel_name(image->own_kernel));
    put_loc(out, image->loc);
    kage_buf_adds(out, "},\n");
}

/* "[" items, one a line, "]": `next` is what follows the item. */
static void put_separator(struct kage_buf *out, size_t i, size_t n)
{
    kage_buf_adds(out, i + 1 < n ? ",\n" : "\n  ");
}

static void put_args(struct kage_buf *out, const struct kage_plan *plan)
{
    kage_buf_adds(out, "  \"args\": [\n");
    for (size_t i = 0; i < plan->n_args; i++) {
        kage_buf_adds(out, "    {");
        put_member(out, "arg", plan->args[i].text);
        put_loc(out, plan->args[i].loc);
        kage_buf_addc(out, '}');
        put_separator(out, i, plan->n_args);
    }
    kage_buf_adds(out, "],\n");
}

static void put_shares(struct kage_buf *out, const struct kage_plan *plan)
{
    kage_buf_adds(out, plan->n_shares ? "  \"shares\": [\n" : "  \"shares\": [");
    for (size_t i = 0; i < plan->n_shares; i++) {
        const struct kage_plan_share *share = &plan->shares[i];

        kage_buf_adds(out, "    {");
        put_member(out, "name", share->name);
        put_member(out, "tag", share->tag);
        put_member(out, "path", share->path);
        kage_buf_addf(out, "\"writable\": %s, ", share->writable ? "true" : "false");
        put_loc(out, share->loc);
        kage_buf_addc(out, '}');
        put_separator(out, i, plan->n_shares);
    }
    kage_buf_adds(out, "],\n");
}

/* ["a", "b"] */
static void put_names(struct kage_buf *out, const char *name, char *const *items, size_t n)
{
    kage_buf_addf(out, "\"%s\": [", name);
    for (size_t i = 0; i < n; i++) {
        kage_buf_adds(out, i ? ", " : "");
        kage_json_put(out, items[i]);
    }
    kage_buf_adds(out, "], ");
}

static void put_ready(struct kage_buf *out, const struct kage_plan_ready *ready)
{
    kage_buf_adds(out, "     \"ready\": {");
    put_member(out, "kind", kage_ready_name(ready->kind));
    put_member(out, "text", ready->text);
    if (ready->payload)
        kage_buf_addf(out, "\"payload\": %s, ", ready->payload);
    kage_buf_addf(out, "\"timeout_ms\": %" PRIu64 ", ", ready->timeout_ms);
    put_loc(out, ready->loc);
    kage_buf_adds(out, "},\n");
}

static void put_inputs(struct kage_buf *out, const struct kage_plan_step *step)
{
    kage_buf_adds(out, "     \"inputs\": [\n");
    for (size_t i = 0; i < step->n_inputs; i++) {
        kage_buf_adds(out, "       {");
        put_member(out, "path", step->inputs[i].path);
        put_loc(out, step->inputs[i].loc);
        kage_buf_adds(out, i + 1 < step->n_inputs ? "},\n" : "}],\n");
    }
}

/* What most commands do not have. */
static void put_special(struct kage_buf *out, const struct kage_plan_step *step)
{
    if (step->retries || step->background || step->pty || step->n_secrets || step->checkpoint) {
        kage_buf_adds(out, "     ");
        if (step->retries)
            kage_buf_addf(out, "\"retries\": %u, ", step->retries);
        if (step->background)
            kage_buf_adds(out, "\"background\": true, ");
        if (step->pty)
            kage_buf_adds(out, "\"pty\": true, ");
        if (step->checkpoint)
            kage_buf_adds(out, "\"checkpoint\": true, ");
        if (step->n_secrets)
            put_names(out, "secrets", step->secrets, step->n_secrets);
        out->len--; /* the blank after the comma */
        kage_buf_addc(out, '\n');
    }
    if (step->ready.kind != KAGE_READY_NONE)
        put_ready(out, &step->ready);
    if (step->n_inputs)
        put_inputs(out, step);
}

static void put_spawn(struct kage_buf *out, const struct kage_plan_step *step)
{
    kage_buf_adds(out, "     ");
    put_member(out, "name", step->name);
    kage_buf_addf(out, "\"timeout_ms\": %" PRIu64 ", \"expect\": [", step->timeout_ms);
    for (size_t i = 0; i < step->n_expect; i++)
        kage_buf_addf(out, "%s%d", i ? ", " : "", step->expect[i]);
    kage_buf_addf(out, "], \"when\": \"%s\", \"continue_on_error\": %s,\n",
                  kage_when_name(step->when), step->continue_on_error ? "true" : "false");
    put_special(out, step);
}

static void put_secrets(struct kage_buf *out, const struct kage_plan *plan)
{
    if (!plan->n_secrets)
        return;
    kage_buf_adds(out, "  \"secrets\": [\n");
    for (size_t i = 0; i < plan->n_secrets; i++) {
        kage_buf_adds(out, "    {");
        put_member(out, "name", plan->secrets[i].name);
        put_member(out, "env", plan->secrets[i].env);
        put_member(out, "file", plan->secrets[i].file);
        put_loc(out, plan->secrets[i].loc);
        kage_buf_addc(out, '}');
        put_separator(out, i, plan->n_secrets);
    }
    kage_buf_adds(out, "],\n");
}

static void put_artifacts(struct kage_buf *out, const struct kage_plan *plan)
{
    if (!plan->n_artifacts)
        return;
    put_text(out, "folder", plan->folder);
    kage_buf_adds(out, "  \"artifacts\": [\n");
    for (size_t i = 0; i < plan->n_artifacts; i++) {
        const struct kage_plan_artifact *artifact = &plan->artifacts[i];

        kage_buf_adds(out, "    {");
        put_member(out, "path", artifact->path);
        put_member(out, "to", artifact->to);
        put_member(out, "when", kage_when_name(artifact->when));
        kage_buf_addf(out, "\"optional\": %s, ", artifact->optional ? "true" : "false");
        put_loc(out, artifact->loc);
        kage_buf_addc(out, '}');
        put_separator(out, i, plan->n_artifacts);
    }
    kage_buf_adds(out, "],\n");
}

static void put_matrix(struct kage_buf *out, const struct kage_plan *plan)
{
    if (!plan->n_matrix)
        return;
    kage_buf_adds(out, "  \"matrix\": [");
    for (size_t i = 0; i < plan->n_matrix; i++) {
        kage_buf_adds(out, i ? ", {" : "{");
        put_member(out, "axis", plan->matrix[i].axis);
        kage_buf_adds(out, "\"value\": ");
        kage_json_put(out, plan->matrix[i].value);
        kage_buf_addc(out, '}');
    }
    kage_buf_adds(out, "],\n");
}

static void put_frames(struct kage_buf *out, const struct kage_plan *plan)
{
    kage_buf_adds(out, "  \"frames\": [\n");
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct kage_plan_step *step = &plan->steps[i];

        kage_buf_adds(out, "    {");
        put_member(out, "type", kage_msg_name(kage_plan_step_type(step->kind)));
        put_loc(out, step->loc);
        kage_buf_adds(out, ",\n");
        if (step->kind == KAGE_STEP_SPAWN)
            put_spawn(out, step);
        kage_buf_addf(out, "     \"payload\": %s}", step->payload);
        put_separator(out, i, plan->n_steps);
    }
    kage_buf_adds(out, "]\n");
}

void kage_plan_print_json(const struct kage_plan *plan, struct kage_buf *out)
{
    kage_buf_adds(out, "{\n");
    put_number(out, "kage_plan", KAGE_PLAN_VERSION);
    put_text(out, "name", plan->name);
    put_text(out, "spec", plan->spec_file);
    put_matrix(out, plan);
    put_text(out, "arch", kage_arch_name(plan->arch));
    put_text(out, "accel", kage_accel_name(plan->accel));
    put_text(out, "accel_note", plan->accel_note);
    put_image(out, &plan->image);
    put_number(out, "memory", plan->memory);
    put_number(out, "disk", plan->disk);
    put_number(out, "boot_timeout_ms", plan->boot_timeout_ms);
    put_number(out, "timeout_ms", plan->timeout_ms);
    put_number(out, "output_limit", plan->output_limit);
    put_text(out, "qemu", plan->qemu);
    put_args(out, plan);
    put_shares(out, plan);
    put_secrets(out, plan);
    put_artifacts(out, plan);
    put_frames(out, plan);
    kage_buf_adds(out, "}\n");
}

void kage_plans_print_json(const struct kage_plans *plans, struct kage_buf *out)
{
    if (plans->n == 1) {
        kage_plan_print_json(plans->items[0], out);
        return;
    }
    kage_buf_addf(out, "{\n\"kage_plans\": %d,\n\"jobs\": [\n", KAGE_PLAN_VERSION);
    for (size_t i = 0; i < plans->n; i++) {
        kage_plan_print_json(plans->items[i], out);
        if (i + 1 < plans->n) {
            out->len--; /* the line feed */
            kage_buf_adds(out, ",\n");
        }
    }
    kage_buf_adds(out, "]\n}\n");
}
