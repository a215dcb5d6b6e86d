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
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/plan/parts.h"
#include "runner/report/mask.h"

static const char *const status_names[] = {
    [KAGE_COMMAND_NOT_RUN] = "not-run", [KAGE_COMMAND_PASSED] = "passed",
    [KAGE_COMMAND_FAILED] = "failed",   [KAGE_COMMAND_TIMED_OUT] = "timed-out",
    [KAGE_COMMAND_LOST] = "lost",
};
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

/* Writes a file beside `path` and renames it, so that a reader never sees half a report. */
static int write_file(const char *path, const struct kage_buf *text, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *part = kage_asprintf("%s.part-%ld", path, (long)getpid());
    KAGE_CLEANUP(kage_closep) int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    size_t done = 0;

    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot write %s", path);
    while (done < text->len) {
        ssize_t n = write(fd, text->data + done, text->len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot write %s", path);
            unlink(part);
            return -1;
        }
        done += (size_t)n;
    }
    if (rename(part, path) < 0) {
        kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot write %s", path);
        unlink(part);
        return -1;
    }
    return 0;
}

/* The plan's spawn steps in order are the result's commands in order. */
static const struct kage_plan_step *step_of(const struct kage_plan *plan, size_t command)
{
    for (size_t i = 0; plan && i < plan->n_steps; i++)
        if (plan->steps[i].kind == KAGE_STEP_SPAWN && command-- == 0)
            return &plan->steps[i];
    return NULL;
}

static const char *verdict(const struct kage_result *r)
{
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

/* cJSON prints bytes as they are; what is not UTF-8 would make a file that no reader takes. */
static void add_text(cJSON *object, const char *name, const char *text)
{
    KAGE_CLEANUP(kage_freep) char *clean = NULL;

    if (!text) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    clean = kage_utf8_valid(text, strlen(text)) ? kage_strdup(text)
                                                : kage_printable(text, strlen(text));
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
    cJSON_AddNumberToObject(o, "duration_ms", (double)c->duration_ms);
    if (c->message)
        add_text(o, "message", c->message);
    add_attempts(o, c);
    return o;
}

int kage_result_write(const char *path, const struct kage_plan *plan,
                      const struct kage_result *result, struct kage_error *err)
{
    cJSON *root = cJSON_CreateObject(), *commands;
    struct kage_buf text = {0};
    char *printed;
    int r;

    cJSON_AddNumberToObject(root, "version", 1);
    if (plan) {
        add_text(root, "name", plan->name);
        add_text(root, "spec", plan->spec_file);
        cJSON_AddStringToObject(root, "accelerator", kage_accel_name(plan->accel));
        cJSON_AddStringToObject(root, "qemu_jail", result->jailed ? "landlock" : "none");
    }
    cJSON_AddStringToObject(root, "verdict", verdict(result));
    cJSON_AddStringToObject(root, "class", kage_class_name(result->class));
    cJSON_AddNumberToObject(root, "exit_code", result->exit_code);
    add_text(root, "message", result->message);
    add_loc(root, &result->loc);
    cJSON_AddNumberToObject(root, "boot_ms", (double)result->boot_ms);
    cJSON_AddNumberToObject(root, "duration_ms", (double)result->duration_ms);
    commands = cJSON_AddArrayToObject(root, "commands");
    for (size_t i = 0; i < result->n_commands; i++)
        cJSON_AddItemToArray(commands, command_json(step_of(plan, i), &result->commands[i]));
    printed = cJSON_Print(root);
    kage_buf_addf(&text, "%s\n", printed ? printed : "");
    r = write_file(path, &text, err);
    kage_buf_done(&text);
    cJSON_free(printed);
    cJSON_Delete(root);
    return r;
}

/* ---- JUnit ---- */

static void add_xml(struct kage_buf *out, const char *text)
{
    KAGE_CLEANUP(kage_freep) char *clean = kage_printable(text, strlen(text));

    for (const char *p = clean; *p; p++) {
        switch (*p) {
        case '&':
            kage_buf_adds(out, "&amp;");
            break;
        case '<':
            kage_buf_adds(out, "&lt;");
            break;
        case '>':
            kage_buf_adds(out, "&gt;");
            break;
        case '"':
            kage_buf_adds(out, "&quot;");
            break;
        default:
            kage_buf_addc(out, *p);
        }
    }
}

/* The element that Maven's Surefire made known for a failure that went away when tried again. */
static void add_flakes(struct kage_buf *out, const struct kage_command_result *c)
{
    if (c->n_attempts < 2) {
        kage_buf_adds(out, "/>\n");
        return;
    }
    kage_buf_addc(out, '>');
    for (size_t i = 0; i + 1 < c->n_attempts; i++) {
        kage_buf_adds(out, "<flakyFailure message=\"");
        add_xml(out, c->attempts[i].message ? c->attempts[i].message : "");
        kage_buf_adds(out, "\"/>");
    }
    kage_buf_adds(out, "</testcase>\n");
}

static void add_case(struct kage_buf *out, const struct kage_plan *plan,
                     const struct kage_plan_step *step, const struct kage_command_result *c)
{
    kage_buf_adds(out, "  <testcase classname=\"");
    add_xml(out, plan->name);
    kage_buf_adds(out, "\" name=\"");
    add_xml(out, step->name);
    kage_buf_addf(out, "\" time=\"%" PRIu64 ".%03" PRIu64 "\"", c->duration_ms / 1000,
                  c->duration_ms % 1000);
    if (c->status == KAGE_COMMAND_PASSED) {
        add_flakes(out, c);
        return;
    }
    if (c->status == KAGE_COMMAND_NOT_RUN) {
        kage_buf_adds(out, "><skipped/></testcase>\n");
        return;
    }
    kage_buf_addf(out, "><%s message=\"", c->status == KAGE_COMMAND_LOST ? "error" : "failure");
    add_xml(out, c->message ? c->message : status_names[c->status]);
    kage_buf_adds(out, "\"/></testcase>\n");
}

int kage_result_write_junit(const char *path, const struct kage_plan *plan,
                            const struct kage_result *result, struct kage_error *err)
{
    size_t failed = 0, lost = 0, skipped = 0;
    bool broken = !strcmp(verdict(result), "error");
    struct kage_buf out = {0};
    int r;

    for (size_t i = 0; i < result->n_commands; i++) {
        enum kage_command_status s = result->commands[i].status;

        failed += s == KAGE_COMMAND_FAILED || s == KAGE_COMMAND_TIMED_OUT;
        lost += s == KAGE_COMMAND_LOST;
        skipped += s == KAGE_COMMAND_NOT_RUN;
    }
    kage_buf_adds(&out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"");
    add_xml(&out, plan ? plan->name : "kage");
    kage_buf_addf(&out,
                  "\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" time=\"%" PRIu64
                  ".%03" PRIu64 "\">\n",
                  result->n_commands + broken, failed, lost + broken, skipped,
                  result->duration_ms / 1000, result->duration_ms % 1000);
    for (size_t i = 0; i < result->n_commands; i++)
        add_case(&out, plan, step_of(plan, i), &result->commands[i]);
    if (broken) {
        /* A broken environment is its own case: never a passed test, never a failed one. */
        kage_buf_addf(&out,
                      "  <testcase classname=\"kage\" name=\"environment\"><error type=\"%s\" "
                      "message=\"",
                      kage_class_name(result->class));
        add_xml(&out, result->message ? result->message : "");
        kage_buf_adds(&out, "\"/></testcase>\n");
    }
    kage_buf_adds(&out, "</testsuite>\n");
    r = write_file(path, &out, err);
    kage_buf_done(&out);
    return r;
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
    kage_mask_free(result->mask);
    free(result->commands);
    free(result->message);
    *result = (struct kage_result){0};
}
