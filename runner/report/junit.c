#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/report/parts.h"

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
        case '\xef':
            /* U+FFFE and U+FFFF: valid UTF-8, and no characters to XML, escaped or not. */
            if (p[1] == '\xbf' && (p[2] == '\xbe' || p[2] == '\xbf')) {
                kage_buf_addf(out, "\\u%s", p[2] == '\xbe' ? "fffe" : "ffff");
                p += 2;
                break;
            }
            /* fall through */
        default:
            kage_buf_addc(out, *p);
        }
    }
}

/* The element that Maven's Surefire made known for a failure that went away when tried again. */
static void add_flakes(struct kage_buf *out, const struct kage_command_result *c)
{
    if (c->cached) {
        kage_buf_adds(out, "><system-out>from a checkpoint</system-out></testcase>\n");
        return;
    }
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
                     const struct kage_plan_step *step, const struct kage_command_result *c,
                     bool cancelled)
{
    kage_buf_adds(out, "  <testcase classname=\"");
    add_xml(out, plan->label ? plan->label : plan->name);
    kage_buf_adds(out, "\" name=\"");
    add_xml(out, step->name);
    kage_buf_addf(out, "\" time=\"%" PRIu64 ".%03" PRIu64 "\"", c->duration_ms / 1000,
                  c->duration_ms % 1000);
    if (c->status == KAGE_COMMAND_PASSED) {
        add_flakes(out, c);
        return;
    }
    if (c->status == KAGE_COMMAND_NOT_RUN || (c->status == KAGE_COMMAND_LOST && cancelled)) {
        kage_buf_adds(out, "><skipped/></testcase>\n");
        return;
    }
    kage_buf_addf(out, "><%s message=\"", c->status == KAGE_COMMAND_LOST ? "error" : "failure");
    add_xml(out, c->message ? c->message : (c->status == KAGE_COMMAND_LOST ? "lost" : "failed"));
    kage_buf_adds(out, "\"/></testcase>\n");
}

static void add_artifact(struct kage_buf *out, const struct kage_artifact_result *a)
{
    if (a->status != KAGE_ARTIFACT_FAILED)
        return;
    kage_buf_adds(out, "  <testcase classname=\"kage\" name=\"artifact ");
    add_xml(out, a->path);
    kage_buf_adds(out, "\"><failure message=\"");
    add_xml(out, a->message ? a->message : "");
    kage_buf_adds(out, "\"/></testcase>\n");
}

static void add_suite(struct kage_buf *out, const struct kage_plan *plan,
                      const struct kage_result *result)
{
    size_t failed = 0, lost = 0, skipped = 0, artifacts = 0;
    bool broken = !strcmp(kage_report_verdict(result), "error");
    KAGE_CLEANUP(kage_freep) char *label = plan ? kage_plan_label(plan) : kage_strdup("kage");

    for (size_t i = 0; i < result->n_commands; i++) {
        enum kage_command_status s = result->commands[i].status;

        failed += s == KAGE_COMMAND_FAILED || s == KAGE_COMMAND_TIMED_OUT;
        lost += s == KAGE_COMMAND_LOST && !result->cancelled;
        skipped += s == KAGE_COMMAND_NOT_RUN || (s == KAGE_COMMAND_LOST && result->cancelled);
    }
    for (size_t i = 0; i < result->n_artifacts; i++)
        artifacts += result->artifacts[i].status == KAGE_ARTIFACT_FAILED;
    kage_buf_adds(out, "<testsuite name=\"");
    add_xml(out, label);
    kage_buf_addf(out,
                  "\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" time=\"%" PRIu64
                  ".%03" PRIu64 "\">\n",
                  result->n_commands + broken + artifacts, failed + artifacts, lost + broken,
                  skipped, result->duration_ms / 1000, result->duration_ms % 1000);
    for (size_t i = 0; i < result->n_commands; i++)
        add_case(out, plan, kage_report_step(plan, i), &result->commands[i], result->cancelled);
    for (size_t i = 0; i < result->n_artifacts; i++)
        add_artifact(out, &result->artifacts[i]);
    if (broken) {
        /* A broken environment is its own case: never a passed test, never a failed one. */
        kage_buf_addf(out,
                      "  <testcase classname=\"kage\" name=\"environment\"><error type=\"%s\" "
                      "message=\"",
                      kage_class_name(result->class));
        add_xml(out, result->message ? result->message : "");
        kage_buf_adds(out, "\"/></testcase>\n");
    }
    kage_buf_adds(out, "</testsuite>\n");
}

int kage_results_write_junit(const char *path, const struct kage_plans *plans,
                             const struct kage_result *results, struct kage_error *err)
{
    struct kage_buf out = {0};
    int r;

    kage_buf_adds(&out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    if (plans->n > 1)
        kage_buf_adds(&out, "<testsuites>\n");
    for (size_t i = 0; i < plans->n || i < 1; i++)
        add_suite(&out, plans->n ? plans->items[i] : NULL, &results[i]);
    if (plans->n > 1)
        kage_buf_adds(&out, "</testsuites>\n");
    r = kage_report_write_file(path, &out, err);
    kage_buf_done(&out);
    return r;
}
