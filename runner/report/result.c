#include "runner/report/result.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/plan/parts.h"
#include "runner/report/mask.h"
#include "runner/report/parts.h"

static const char *const status_names[] = {
    [KAGE_COMMAND_NOT_RUN] = "not-run", [KAGE_COMMAND_PASSED] = "passed",
    [KAGE_COMMAND_FAILED] = "failed",   [KAGE_COMMAND_TIMED_OUT] = "timed-out",
    [KAGE_COMMAND_LOST] = "lost",
};
static const char *const artifact_names[] = {
    [KAGE_ARTIFACT_NOT_WANTED] = "not-wanted",
    [KAGE_ARTIFACT_COPIED] = "copied",
    [KAGE_ARTIFACT_MISSING] = "missing",
    [KAGE_ARTIFACT_FAILED] = "failed",
};
static_assert(sizeof artifact_names / sizeof *artifact_names == KAGE_ARTIFACT_STATUS_COUNT, "");
static_assert(sizeof status_names / sizeof *status_names == KAGE_COMMAND_STATUS_COUNT, "");

#define EXIT_TIMEOUT 124    /* as timeout(1) */
#define EXIT_NO_VERDICT 125 /* as `docker run` for its own failures */

int kage_result_exit_code(enum kage_class class, int command_code, int signal)
{
    switch (class) {
    case KAGE_CLASS_NONE:
        return 0;
    case KAGE_CLASS_COMMAND:
    case KAGE_CLASS_SIGNAL:
        /* A command that should have failed and exited 0 must not make the job pass. */
        return command_code ? command_code : 1;
    case KAGE_CLASS_TIMEOUT:
        return EXIT_TIMEOUT;
    case KAGE_CLASS_INTERRUPTED:
        return 128 + signal;
    default:
        return EXIT_NO_VERDICT;
    }
}

static int write_all(int fd, const struct kage_buf *text)
{
    size_t done = 0;

    while (done < text->len) {
        ssize_t n = write(fd, text->data + done, text->len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

/* Writes a file beside `path` and renames it, so that a reader never sees half a report. What is no
 * regular file (a FIFO, /dev/stdout, /dev/null) is written to, and a link is followed. */
int kage_report_write_file(const char *path, const struct kage_buf *text, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *real = realpath(path, NULL);
    const char *target = real ? real : path;
    KAGE_CLEANUP(kage_freep) char *part = NULL;
    KAGE_CLEANUP(kage_closep) int fd = -1;
    struct stat st;
    int e;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0 || write_all(fd, text) < 0)
            return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot write %s", path);
        return 0;
    }
    part = kage_asprintf("%s.part-%ld", target, (long)getpid());
    fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot write %s", path);
    if (write_all(fd, text) == 0 && rename(part, target) == 0)
        return 0;
    e = errno;
    unlink(part);
    return kage_error_errno(err, KAGE_CLASS_HOST, e, "cannot write %s", path);
}

int kage_report_check_path(const char *path, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    const char *slash = strrchr(path, '/');
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return kage_error_set(err, KAGE_CLASS_HOST, "cannot write %s: it is a folder", path);
    folder =
        !slash ? kage_strdup(".") : kage_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (access(folder, W_OK | X_OK) < 0 && (stat(path, &st) < 0 || S_ISREG(st.st_mode)))
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot write %s", path);
    return 0;
}

/* The plan's spawn steps in order are the result's commands in order. */
const struct kage_plan_step *kage_report_step(const struct kage_plan *plan, size_t command)
{
    for (size_t i = 0; plan && i < plan->n_steps; i++)
        if (plan->steps[i].kind == KAGE_STEP_SPAWN && command-- == 0)
            return &plan->steps[i];
    return NULL;
}

const char *kage_report_verdict(const struct kage_result *r)
{
    if (r->cancelled)
        return "cancelled";
    switch (r->class) {
    case KAGE_CLASS_NONE:
        return "passed";
    case KAGE_CLASS_COMMAND:
    case KAGE_CLASS_SIGNAL:
    case KAGE_CLASS_TIMEOUT:
        return "failed";
    default:
        return "error";
    }
}

/* ---- JSON ---- */

char *kage_report_text(const char *text)
{
    return kage_utf8_valid(text, strlen(text)) ? kage_strdup(text)
                                               : kage_printable(text, strlen(text));
}

static void add_text(cJSON *object, const char *name, const char *text)
{
    KAGE_CLEANUP(kage_freep) char *clean = NULL;

    if (!text) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    clean = kage_report_text(text);
    cJSON_AddStringToObject(object, name, clean);
}

static void add_loc(cJSON *object, const struct kage_loc *loc)
{
    KAGE_CLEANUP(kage_freep) char *text = NULL;

    if (!loc->file || loc->line <= 0)
        return;
    text = kage_asprintf("%s:%d:%d", loc->file, loc->line, loc->col);
    add_text(object, "source", text);
}

/* Only where there was more than one: the one there always is says nothing new. */
static void add_attempts(cJSON *object, const struct kage_command_result *c)
{
    cJSON *list = c->n_attempts > 1 ? cJSON_AddArrayToObject(object, "attempts") : NULL;

    for (size_t i = 0; list && i < c->n_attempts; i++) {
        const struct kage_attempt *a = &c->attempts[i];
        cJSON *o = cJSON_CreateObject();

        cJSON_AddStringToObject(o, "status", status_names[a->status]);
        cJSON_AddNumberToObject(o, "exit_code", a->exit_code);
        if (a->signal)
            cJSON_AddNumberToObject(o, "signal", a->signal);
        if (a->out_of_memory)
            cJSON_AddTrueToObject(o, "out_of_memory");
        cJSON_AddNumberToObject(o, "duration_ms", (double)a->duration_ms);
        if (a->message)
            add_text(o, "message", a->message);
        cJSON_AddItemToArray(list, o);
    }
}

static cJSON *command_json(const struct kage_plan_step *step, const struct kage_command_result *c)
{
    cJSON *o = cJSON_CreateObject();

    add_text(o, "name", step->name);
    add_loc(o, &step->loc);
    cJSON_AddStringToObject(o, "status", status_names[c->status]);
    if (c->exit_code >= 0)
        cJSON_AddNumberToObject(o, "exit_code", c->exit_code);
    if (c->signal)
        cJSON_AddNumberToObject(o, "signal", c->signal);
    if (c->out_of_memory)
        cJSON_AddTrueToObject(o, "out_of_memory");
    if (c->cached)
        cJSON_AddTrueToObject(o, "cached");
    cJSON_AddNumberToObject(o, "duration_ms", (double)c->duration_ms);
    if (c->message)
        add_text(o, "message", c->message);
    add_attempts(o, c);
    return o;
}

static void add_verdict(cJSON *o, const struct kage_result *result)
{
    cJSON_AddStringToObject(o, "verdict", kage_report_verdict(result));
    cJSON_AddStringToObject(o, "class", kage_class_name(result->class));
    cJSON_AddNumberToObject(o, "exit_code", result->exit_code);
    add_text(o, "message", result->message);
    add_loc(o, &result->loc);
}

static void add_matrix(cJSON *o, const struct kage_plan *plan)
{
    cJSON *matrix = plan->n_matrix ? cJSON_AddObjectToObject(o, "matrix") : NULL;

    for (size_t i = 0; matrix && i < plan->n_matrix; i++)
        add_text(matrix, plan->matrix[i].axis, plan->matrix[i].value);
}

static void add_artifacts(cJSON *o, const struct kage_result *result)
{
    cJSON *list = result->n_artifacts ? cJSON_AddArrayToObject(o, "artifacts") : NULL;

    for (size_t i = 0; list && i < result->n_artifacts; i++) {
        const struct kage_artifact_result *a = &result->artifacts[i];
        cJSON *item = cJSON_CreateObject();

        add_text(item, "path", a->path);
        add_text(item, "to", a->to);
        cJSON_AddStringToObject(item, "status", artifact_names[a->status]);
        if (a->message)
            add_text(item, "message", a->message);
        cJSON_AddItemToArray(list, item);
    }
}

static void add_job(cJSON *o, const struct kage_plan *plan, const struct kage_result *result)
{
    cJSON *commands;

    if (plan) {
        add_text(o, "name", plan->name);
        add_text(o, "spec", plan->spec_file);
        if (plan->label)
            add_text(o, "label", plan->label);
        add_matrix(o, plan);
        cJSON_AddStringToObject(o, "accelerator", kage_accel_name(plan->accel));
        cJSON_AddStringToObject(o, "qemu_jail", result->jailed ? "landlock" : "none");
    }
    add_verdict(o, result);
    cJSON_AddNumberToObject(o, "boot_ms", (double)result->boot_ms);
    cJSON_AddNumberToObject(o, "duration_ms", (double)result->duration_ms);
    commands = cJSON_AddArrayToObject(o, "commands");
    for (size_t i = 0; i < result->n_commands; i++)
        cJSON_AddItemToArray(commands,
                             command_json(kage_report_step(plan, i), &result->commands[i]));
    add_artifacts(o, result);
}

const struct kage_result *kage_results_verdict(const struct kage_result *results, size_t n)
{
    const struct kage_result *found = NULL;

    for (size_t i = 0; i < n; i++) {
        if (results[i].cancelled)
            continue;
        if (results[i].class == KAGE_CLASS_INTERRUPTED)
            return &results[i];
        if (!found && results[i].class != KAGE_CLASS_NONE)
            found = &results[i];
    }
    return found ? found : &results[0];
}

/* What all jobs share stands at the top. */
static void add_origin(cJSON *o, const struct kage_plans *plans)
{
    const struct kage_plan *first = plans->items[0];
    bool name = true, spec = true;

    for (size_t i = 1; i < plans->n; i++) {
        name &= !strcmp(plans->items[i]->name, first->name);
        spec &= !strcmp(plans->items[i]->spec_file, first->spec_file);
    }
    if (name && spec)
        add_text(o, "name", first->name);
    if (spec)
        add_text(o, "spec", first->spec_file);
}

static void add_jobs(cJSON *o, const struct kage_plans *plans, const struct kage_result *results)
{
    cJSON *jobs;
    uint64_t ms = 0;

    for (size_t i = 0; i < plans->n; i++)
        ms += results[i].duration_ms;
    add_origin(o, plans);
    add_verdict(o, kage_results_verdict(results, plans->n));
    cJSON_AddNumberToObject(o, "duration_ms", (double)ms);
    jobs = cJSON_AddArrayToObject(o, "jobs");
    for (size_t i = 0; i < plans->n; i++) {
        cJSON *job = cJSON_CreateObject();

        add_job(job, plans->items[i], &results[i]);
        cJSON_AddItemToArray(jobs, job);
    }
}

int kage_results_write(const char *path, const struct kage_plans *plans,
                       const struct kage_result *results, struct kage_error *err)
{
    cJSON *root = cJSON_CreateObject();
    struct kage_buf text = {0};
    char *printed;
    int r;

    cJSON_AddNumberToObject(root, "version", 1);
    if (plans->n > 1)
        add_jobs(root, plans, results);
    else
        add_job(root, plans->n ? plans->items[0] : NULL, &results[0]);
    printed = cJSON_Print(root);
    kage_buf_addf(&text, "%s\n", printed ? printed : "");
    r = kage_report_write_file(path, &text, err);
    kage_buf_done(&text);
    cJSON_free(printed);
    cJSON_Delete(root);
    return r;
}

static size_t count_commands(const struct kage_plan *plan)
{
    size_t n = 0;

    for (size_t i = 0; i < plan->n_steps; i++)
        n += plan->steps[i].kind == KAGE_STEP_SPAWN;
    return n;
}

void kage_result_begin(const struct kage_plan *plan, struct kage_result *result)
{
    /* What was before, a first machine or the reading of the spec, stays on the timeline. */
    struct kage_timeline timeline = result->timeline;

    result->timeline = (struct kage_timeline){0};
    kage_result_done(result);
    result->timeline = timeline;
    result->n_artifacts = plan->n_artifacts;
    result->artifacts = kage_alloc((plan->n_artifacts + 1) * sizeof *result->artifacts);
    for (size_t i = 0; i < plan->n_artifacts; i++) {
        result->artifacts[i].path = kage_strdup(plan->artifacts[i].path);
        result->artifacts[i].to = kage_strdup(plan->artifacts[i].to);
    }
    result->n_commands = count_commands(plan);
    result->commands = kage_alloc((result->n_commands + 1) * sizeof *result->commands);
    for (size_t i = 0; i < result->n_commands; i++)
        result->commands[i].exit_code = -1;
}

void kage_result_done(struct kage_result *result)
{
    for (size_t i = 0; i < result->n_commands; i++) {
        struct kage_command_result *c = &result->commands[i];

        for (size_t k = 0; k < c->n_attempts; k++)
            free(c->attempts[k].message);
        free(c->attempts);
        free(c->message);
    }
    for (size_t i = 0; i < result->n_artifacts; i++) {
        free(result->artifacts[i].path);
        free(result->artifacts[i].to);
        free(result->artifacts[i].message);
    }
    free(result->artifacts);
    kage_timeline_done(&result->timeline);
    kage_mask_free(result->mask);
    free(result->commands);
    free(result->message);
    *result = (struct kage_result){0};
}
