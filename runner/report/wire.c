#include <cjson/cJSON.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/plan/strict_json.h"
#include "runner/report/parts.h"
#include "runner/report/result.h"

/*
 * A result on its way from the process that ran a job to the one that waits for it. What the plan
 * says already (names, places in the spec) is not repeated. The sender is kage, but one that has
 * talked to a guest: everything is checked, and a result that contradicts itself is none.
 */
#define VERSION 1
#define EXIT_CODE_MAX 255
#define SIGNAL_MAX 64
#define POSITION_MAX 0x7fffffff
#define TIME_MAX (UINT64_C(1) << 53)
#define ATTEMPTS_MAX 65536

/* ---- writing ---- */

static void put_text(cJSON *o, const char *name, const char *text)
{
    KAGE_CLEANUP(kage_freep) char *clean = NULL;

    if (!text)
        return;
    clean = kage_report_text(text);
    cJSON_AddStringToObject(o, name, clean);
}

static void put_end(cJSON *o, enum kage_command_status status, int exit_code, int signal, bool oom,
                    uint64_t ms, const char *message)
{
    cJSON_AddNumberToObject(o, "status", status);
    if (exit_code >= 0)
        cJSON_AddNumberToObject(o, "exit_code", exit_code);
    cJSON_AddNumberToObject(o, "signal", signal);
    cJSON_AddBoolToObject(o, "out_of_memory", oom);
    cJSON_AddNumberToObject(o, "duration_ms", (double)ms);
    put_text(o, "message", message);
}

static void put_command(cJSON *list, const struct kage_command_result *c)
{
    cJSON *o = cJSON_CreateObject(), *attempts;

    put_end(o, c->status, c->exit_code, c->signal, c->out_of_memory, c->duration_ms, c->message);
    cJSON_AddBoolToObject(o, "cached", c->cached);
    attempts = cJSON_AddArrayToObject(o, "attempts");
    for (size_t i = 0; i < c->n_attempts; i++) {
        const struct kage_attempt *a = &c->attempts[i];
        cJSON *item = cJSON_CreateObject();

        put_end(item, a->status, a->exit_code, a->signal, a->out_of_memory, a->duration_ms,
                a->message);
        cJSON_AddItemToArray(attempts, item);
    }
    cJSON_AddItemToArray(list, o);
}

static void put_spans(cJSON *root, const struct kage_timeline *t)
{
    cJSON *list = cJSON_AddArrayToObject(root, "spans");

    for (size_t i = 0; i < t->n; i++) {
        cJSON *item = cJSON_CreateObject();

        put_text(item, "name", t->spans[i].name);
        cJSON_AddNumberToObject(item, "side", t->spans[i].side);
        cJSON_AddNumberToObject(item, "start_us", (double)t->spans[i].start_us);
        cJSON_AddNumberToObject(item, "end_us", (double)t->spans[i].end_us);
        cJSON_AddItemToArray(list, item);
    }
}

void kage_result_send(const struct kage_result *result, struct kage_buf *out)
{
    cJSON *root = cJSON_CreateObject(), *list;
    char *text;

    cJSON_AddNumberToObject(root, "version", VERSION);
    cJSON_AddNumberToObject(root, "class", result->class);
    cJSON_AddNumberToObject(root, "exit_code", result->exit_code);
    put_text(root, "message", result->message);
    cJSON_AddNumberToObject(root, "line", result->loc.file ? result->loc.line : 0);
    cJSON_AddNumberToObject(root, "col", result->loc.file ? result->loc.col : 0);
    cJSON_AddNumberToObject(root, "boot_ms", (double)result->boot_ms);
    cJSON_AddNumberToObject(root, "duration_ms", (double)result->duration_ms);
    cJSON_AddBoolToObject(root, "jailed", result->jailed);
    list = cJSON_AddArrayToObject(root, "commands");
    for (size_t i = 0; i < result->n_commands; i++)
        put_command(list, &result->commands[i]);
    list = cJSON_AddArrayToObject(root, "artifacts");
    for (size_t i = 0; i < result->n_artifacts; i++) {
        cJSON *item = cJSON_CreateObject();

        cJSON_AddNumberToObject(item, "status", result->artifacts[i].status);
        put_text(item, "message", result->artifacts[i].message);
        cJSON_AddItemToArray(list, item);
    }
    put_spans(root, &result->timeline);
    text = cJSON_PrintUnformatted(root);
    if (text)
        kage_buf_adds(out, text);
    cJSON_free(text);
    cJSON_Delete(root);
}

/* ---- reading ---- */

#define END_KEYS "status exit_code signal out_of_memory duration_ms message"

static struct kage_attempt read_end(struct kage_json_obj *o)
{
    struct kage_attempt a = {0};
    uint64_t code = kage_json_u64(o, "exit_code", 0, EXIT_CODE_MAX, EXIT_CODE_MAX + 1);

    a.status = (enum kage_command_status)kage_json_u64(
        o, "status", 0, KAGE_COMMAND_STATUS_COUNT - 1, KAGE_COMMAND_STATUS_COUNT);
    if (a.status == KAGE_COMMAND_STATUS_COUNT)
        kage_json_fail(o, "status", "is missing");
    a.exit_code = code > EXIT_CODE_MAX ? -1 : (int)code;
    a.signal = (int)kage_json_u64(o, "signal", 0, SIGNAL_MAX, 0);
    a.out_of_memory = kage_json_bool(o, "out_of_memory", false);
    a.duration_ms = kage_json_u64(o, "duration_ms", 0, TIME_MAX, 0);
    a.message = kage_json_str(o, "message", false);
    return a;
}

static int read_attempts(struct kage_json_obj *o, struct kage_command_result *c)
{
    const struct cJSON *list = kage_json_list(o, "attempts");
    size_t n = list ? kage_json_list_len(list) : 0;

    if (o->failed || n > ATTEMPTS_MAX)
        return -1;
    c->attempts = n ? kage_alloc(n * sizeof *c->attempts) : NULL;
    for (const struct cJSON *i = NULL; n && (i = kage_json_list_next(list, i));) {
        struct kage_json_obj item = kage_json_open(i, "attempt", END_KEYS, o->err);

        c->attempts[c->n_attempts++] = read_end(&item);
        if (item.failed)
            return -1;
    }
    return 0;
}

static int read_command(const struct cJSON *item, struct kage_command_result *c,
                        struct kage_error *err)
{
    struct kage_json_obj o = kage_json_open(item, "command", END_KEYS " cached attempts", err);
    struct kage_attempt last = read_end(&o);

    c->status = last.status;
    c->exit_code = last.exit_code;
    c->signal = last.signal;
    c->out_of_memory = last.out_of_memory;
    c->duration_ms = last.duration_ms;
    c->message = last.message;
    c->cached = kage_json_bool(&o, "cached", false);
    return o.failed ? -1 : read_attempts(&o, c);
}

static int read_artifact(const struct cJSON *item, struct kage_artifact_result *a,
                         struct kage_error *err)
{
    struct kage_json_obj o = kage_json_open(item, "artifact", "status message", err);

    a->status = (enum kage_artifact_status)kage_json_u64(
        &o, "status", 0, KAGE_ARTIFACT_STATUS_COUNT - 1, KAGE_ARTIFACT_STATUS_COUNT);
    if (a->status == KAGE_ARTIFACT_STATUS_COUNT)
        kage_json_fail(&o, "status", "is missing");
    a->message = kage_json_str(&o, "message", false);
    return o.failed ? -1 : 0;
}

static int read_spans(struct kage_json_obj *o, struct kage_timeline *t)
{
    const struct cJSON *list = kage_json_list(o, "spans");

    for (const struct cJSON *i = NULL; list && (i = kage_json_list_next(list, i));) {
        struct kage_json_obj item = kage_json_open(i, "span", "name side start_us end_us", o->err);
        KAGE_CLEANUP(kage_freep) char *name = kage_json_str(&item, "name", true);
        enum kage_side side =
            (enum kage_side)kage_json_u64(&item, "side", 0, KAGE_SIDE_GUEST, KAGE_SIDE_HOST);
        uint64_t start_us = kage_json_u64(&item, "start_us", 0, TIME_MAX, 0);
        uint64_t end_us = kage_json_u64(&item, "end_us", 0, TIME_MAX, 0);

        if (item.failed)
            return -1;
        kage_timeline_add(t, side, name, start_us, end_us);
    }
    return o->failed ? -1 : 0;
}

/* The lists are as long as the plan's, whose entries *r has already. */
static int read_lists(struct kage_json_obj *o, struct kage_result *r)
{
    const struct cJSON *commands = kage_json_list(o, "commands");
    const struct cJSON *artifacts = kage_json_list(o, "artifacts");
    const struct cJSON *item = NULL;

    if (o->failed)
        return -1;
    if (kage_json_list_len(commands) != r->n_commands)
        kage_json_fail(o, "commands", "are not those of the plan");
    if (kage_json_list_len(artifacts) != r->n_artifacts)
        kage_json_fail(o, "artifacts", "are not those of the plan");
    for (size_t i = 0; i < r->n_commands && !o->failed; i++)
        if (read_command(item = kage_json_list_next(commands, item), &r->commands[i], o->err) < 0)
            return -1;
    item = NULL;
    for (size_t i = 0; i < r->n_artifacts && !o->failed; i++)
        if (read_artifact(item = kage_json_list_next(artifacts, item), &r->artifacts[i], o->err) <
            0)
            return -1;
    return o->failed ? -1 : 0;
}

static int read_result(const struct cJSON *root, const struct kage_plan *plan,
                       struct kage_result *r, struct kage_error *err)
{
    struct kage_json_obj o = kage_json_open(root, "",
                                            "version class exit_code message line col boot_ms "
                                            "duration_ms jailed commands artifacts spans",
                                            err);

    if (kage_json_u64(&o, "version", VERSION, VERSION, 0) != VERSION)
        kage_json_fail(&o, "version", "is missing");
    r->class =
        (enum kage_class)kage_json_u64(&o, "class", 0, KAGE_CLASS_COUNT - 1, KAGE_CLASS_COUNT);
    r->exit_code = (int)kage_json_u64(&o, "exit_code", 0, EXIT_CODE_MAX, EXIT_CODE_MAX + 1);
    r->message = kage_json_str(&o, "message", false);
    r->loc.line = (int)kage_json_u64(&o, "line", 0, POSITION_MAX, 0);
    r->loc.col = (int)kage_json_u64(&o, "col", 0, POSITION_MAX, 0);
    r->loc.file = r->loc.line ? plan->spec_file : NULL;
    r->boot_ms = kage_json_u64(&o, "boot_ms", 0, TIME_MAX, 0);
    r->duration_ms = kage_json_u64(&o, "duration_ms", 0, TIME_MAX, 0);
    r->jailed = kage_json_bool(&o, "jailed", false);
    if (!o.failed && (r->class == KAGE_CLASS_COUNT || r->exit_code > EXIT_CODE_MAX))
        kage_json_fail(&o, "", "lacks class or exit_code");
    /* A job that failed must not end as one that passed, nor without a word. */
    if (!o.failed && ((r->class == KAGE_CLASS_NONE) != (r->exit_code == 0) ||
                      (r->class != KAGE_CLASS_NONE && !r->message)))
        kage_json_fail(&o, "", "contradicts itself about the verdict");
    return o.failed || read_lists(&o, r) < 0 ? -1 : read_spans(&o, &r->timeline);
}

int kage_result_receive(const struct kage_buf *text, const struct kage_plan *plan,
                        struct kage_result *ret, struct kage_error *err)
{
    struct kage_result r = {0};
    struct cJSON *root = NULL;
    int code = kage_json_parse(text, &root, err);

    if (code == 0) {
        kage_result_begin(plan, &r);
        code = read_result(root, plan, &r, err);
    }
    kage_json_free(root);
    if (code < 0) {
        kage_result_done(&r);
        return -1;
    }
    /* What the receiver noted itself comes first. */
    for (size_t i = 0; i < r.timeline.n; i++) {
        const struct kage_span *s = &r.timeline.spans[i];

        kage_timeline_add(&ret->timeline, s->side, s->name, s->start_us, s->end_us);
    }
    kage_timeline_done(&r.timeline);
    r.timeline = ret->timeline;
    ret->timeline = (struct kage_timeline){0};
    kage_result_done(ret);
    *ret = r;
    return 0;
}
