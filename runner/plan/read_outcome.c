#include <string.h>

#include "common/base/alloc.h"
#include "common/proto/message.h"
#include "runner/plan/parts.h"
#include "runner/plan/read.h"
#include "runner/spec/fields.h"

static const struct cJSON *optional_list(struct kage_json_obj *o, const char *key)
{
    return kage_json_has(o, key) ? kage_json_list(o, key) : NULL;
}

static bool fits(enum kage_form form, const char *text)
{
    return text && kage_forms[form].match(text);
}

static int read_secrets(const struct cJSON *list, struct kage_plan *plan, struct kage_error *err)
{
    plan->secrets = kage_alloc((kage_json_list_len(list) + 1) * sizeof(*plan->secrets));
    for (const struct cJSON *i = NULL; (i = kage_json_list_next(list, i));) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("secrets[%zu]", plan->n_secrets);
        struct kage_json_obj o = kage_json_open(i, path, "name env file line col", err);
        struct kage_plan_secret *secret = &plan->secrets[plan->n_secrets++];

        secret->name = kage_json_str(&o, "name", true);
        secret->env = kage_json_str(&o, "env", false);
        secret->file = kage_json_str(&o, "file", false);
        secret->loc = kage_plan_read_loc(&o, plan);
        if (!o.failed && !fits(KAGE_FORM_VARIABLE, secret->name))
            kage_json_fail(&o, "name", "is not the name of a variable");
        if (!o.failed && !secret->env == !secret->file)
            kage_json_fail(&o, "env", "or file must be there, and not both");
        if (!o.failed && secret->file && secret->file[0] != '/')
            kage_json_fail(&o, "file", "must be absolute");
        if (o.failed)
            return -1;
    }
    return 0;
}

static int read_artifacts(const struct cJSON *list, struct kage_plan *plan, struct kage_error *err)
{
    plan->artifacts = kage_alloc((kage_json_list_len(list) + 1) * sizeof(*plan->artifacts));
    for (const struct cJSON *i = NULL; (i = kage_json_list_next(list, i));) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("artifacts[%zu]", plan->n_artifacts);
        struct kage_json_obj o = kage_json_open(i, path, "path to when optional line col", err);
        struct kage_plan_artifact *artifact = &plan->artifacts[plan->n_artifacts++];

        artifact->path = kage_json_str(&o, "path", true);
        artifact->to = kage_json_str(&o, "to", true);
        artifact->when = (enum kage_when)kage_plan_read_word(&o, "when", kage_when_from, 0);
        artifact->optional = kage_json_bool(&o, "optional", false);
        artifact->loc = kage_plan_read_loc(&o, plan);
        if (!o.failed && !fits(KAGE_FORM_TARGET, artifact->path))
            kage_json_fail(&o, "path", "must be absolute and normalised");
        if (!o.failed && !fits(KAGE_FORM_INSIDE, artifact->to))
            kage_json_fail(&o, "to", "must be a relative path without '..'");
        if (o.failed)
            return -1;
    }
    return 0;
}

static int read_matrix(const struct cJSON *list, struct kage_plan *plan, struct kage_error *err)
{
    plan->matrix = kage_alloc((kage_json_list_len(list) + 1) * sizeof(*plan->matrix));
    for (const struct cJSON *i = NULL; (i = kage_json_list_next(list, i));) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("matrix[%zu]", plan->n_matrix);
        struct kage_json_obj o = kage_json_open(i, path, "axis value", err);
        struct kage_spec_choice *choice = &plan->matrix[plan->n_matrix++];

        choice->axis = kage_json_str(&o, "axis", true);
        choice->value = kage_json_str(&o, "value", true);
        if (o.failed)
            return -1;
    }
    return 0;
}

int kage_plan_read_outcome(const struct cJSON *root, struct kage_plan *plan, struct kage_error *err)
{
    struct kage_json_obj o = {.obj = root, .path = "", .err = err};
    const struct cJSON *secrets = optional_list(&o, "secrets");
    const struct cJSON *artifacts = optional_list(&o, "artifacts");
    const struct cJSON *matrix = optional_list(&o, "matrix");

    if (o.failed || (secrets && read_secrets(secrets, plan, err) < 0) ||
        (artifacts && read_artifacts(artifacts, plan, err) < 0) ||
        (matrix && read_matrix(matrix, plan, err) < 0))
        return -1;
    plan->folder = kage_json_str(&o, "folder", plan->n_artifacts > 0);
    if (!o.failed && plan->folder && plan->folder[0] != '/')
        kage_json_fail(&o, "folder", "must be absolute");
    return o.failed ? -1 : 0;
}

/* ---- commands ---- */

static bool has_secret(const struct kage_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_secrets; i++)
        if (strcmp(plan->secrets[i].name, name) == 0)
            return true;
    return false;
}

/* Whether a payload of a spawn has the secret's place in its environment. */
static bool has_place(const char *payload, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *entry = kage_plan_secret_entry(name);
    KAGE_CLEANUP(kage_freep) char *why = NULL;
    struct kage_msg msg;
    bool found = false;

    if (kage_msg_decode(&msg, KAGE_MSG_SPAWN, (const uint8_t *)payload, strlen(payload), &why))
        return false;
    for (size_t i = 0; i < msg.spawn.env.n; i++)
        found |= strcmp(msg.spawn.env.items[i], entry) == 0;
    kage_msg_done(&msg);
    return found;
}

static void read_names(struct kage_json_obj *o, const struct kage_plan *plan,
                       struct kage_plan_step *step)
{
    const struct cJSON *list = optional_list(o, "secrets");

    if (!list)
        return;
    step->secrets = kage_alloc((kage_json_list_len(list) + 1) * sizeof(*step->secrets));
    for (const struct cJSON *i = NULL; (i = kage_json_list_next(list, i));) {
        const char *name = kage_json_item_str(i);

        if (!name || !has_secret(plan, name))
            kage_json_fail(o, "secrets", "must hold names of the plan's secrets");
        else if (step->payload && !has_place(step->payload, name))
            kage_json_fail(o, "secrets", "holds one that the payload has no place for");
        if (o->failed)
            return;
        step->secrets[step->n_secrets++] = kage_strdup(name);
    }
}

static void read_ready(const struct cJSON *item, const char *path, const struct kage_plan *plan,
                       struct kage_plan_step *step, uint32_t id, struct kage_json_obj *outer,
                       struct kage_error *err)
{
    struct kage_json_obj o =
        kage_json_open(item, path, "kind text payload timeout_ms line col", err);
    struct kage_plan_ready *ready = &step->ready;

    ready->kind = (enum kage_ready)kage_plan_read_word(&o, "kind", kage_ready_from, KAGE_READY_TCP);
    ready->timeout_ms = kage_json_u64(&o, "timeout_ms", 1, KAGE_PLAN_NUMBER_MAX, 60000);
    ready->loc = kage_plan_read_loc(&o, plan);
    if (ready->kind == KAGE_READY_LOG)
        ready->text = kage_json_str(&o, "text", true);
    else if (ready->kind == KAGE_READY_EXEC)
        ready->payload = kage_plan_read_payload(&o, "payload", KAGE_MSG_SPAWN, id);
    else
        ready->payload = kage_plan_read_payload(&o, "payload", KAGE_MSG_PROBE, 0);
    for (size_t i = 0; ready->kind == KAGE_READY_EXEC && ready->payload && i < step->n_secrets; i++)
        if (!has_place(ready->payload, step->secrets[i]))
            kage_json_fail(&o, "payload", "has no place for a secret of its command");
    if (ready->text && !*ready->text)
        kage_json_fail(&o, "text", "is empty");
    outer->failed |= o.failed;
}

static void read_inputs(struct kage_json_obj *o, const struct kage_plan *plan,
                        struct kage_plan_step *step, struct kage_error *err)
{
    const struct cJSON *list = optional_list(o, "inputs");

    step->inputs = kage_alloc((kage_json_list_len(list) + 1) * sizeof(*step->inputs));
    for (const struct cJSON *i = NULL; list && (i = kage_json_list_next(list, i));) {
        KAGE_CLEANUP(kage_freep)
        char *path = kage_asprintf("%s.inputs[%zu]", o->path, step->n_inputs);
        KAGE_CLEANUP(kage_freep) char *below = NULL;
        struct kage_json_obj item = kage_json_open(i, path, "path line col", err);
        struct kage_plan_input *input = &step->inputs[step->n_inputs++];

        input->path = kage_json_str(&item, "path", true);
        input->loc = kage_plan_read_loc(&item, plan);
        if (!item.failed &&
            (input->path[0] != '/' || !kage_plan_share_of(plan, input->path, &below)))
            kage_json_fail(&item, "path", "must be absolute and in one of the shares");
        o->failed |= item.failed;
        if (o->failed)
            return;
    }
}

/* The machine is saved after this command: what it may hold. The step itself is the last one. */
static void check_checkpoint(struct kage_json_obj *o, const struct kage_plan *plan)
{
    for (size_t i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].n_secrets)
            kage_json_fail(o, "checkpoint", "comes after a command with secrets");
}

void kage_plan_read_special(struct kage_json_obj *o, const struct kage_plan *plan,
                            struct kage_plan_step *step, uint32_t n, struct kage_error *err)
{
    step->retries = (unsigned)kage_json_u64(o, "retries", 0, 1000, 0);
    step->background = kage_json_bool(o, "background", false);
    step->pty = kage_json_bool(o, "pty", false);
    if (!step->timeout_ms && !step->background)
        kage_json_fail(o, "timeout_ms", "must be above 0 but for commands in the background");
    step->checkpoint = kage_json_bool(o, "checkpoint", false);
    read_names(o, plan, step);
    if (!o->failed)
        read_inputs(o, plan, step, err);
    if (!o->failed && step->checkpoint)
        check_checkpoint(o, plan);
    if (o->failed || !kage_json_has(o, "ready"))
        return;
    if (!step->background) {
        kage_json_fail(o, "ready", "goes with background");
        return;
    }
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s.ready", o->path);
    read_ready(kage_json_member(o, "ready"), path, plan, step, n + step->id, o, err);
}
