#include "runner/report/timeline.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/report/parts.h"
#include "runner/report/result.h"

static const char *const side_names[] = {[KAGE_SIDE_HOST] = "host", [KAGE_SIDE_GUEST] = "guest"};

void kage_timeline_add(struct kage_timeline *t, enum kage_side side, const char *name,
                       uint64_t start_us, uint64_t end_us)
{
    t->spans = kage_array_grow(t->spans, &t->cap, t->n + 1, sizeof *t->spans);
    t->spans[t->n++] = (struct kage_span){.name = kage_strdup(name),
                                          .side = side,
                                          .start_us = start_us,
                                          .end_us = end_us > start_us ? end_us : start_us};
}

void kage_timeline_done(struct kage_timeline *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->spans[i].name);
    free(t->spans);
    *t = (struct kage_timeline){0};
}

static int by_start(const void *a, const void *b)
{
    const struct kage_span *x = a, *y = b;

    if (x->start_us != y->start_us)
        return x->start_us < y->start_us ? -1 : 1;
    return x->end_us > y->end_us ? -1 : x->end_us < y->end_us; /* what contains others first */
}

/* The spans by their start. Owned; the names stay the timeline's. */
static struct kage_span *sorted(const struct kage_timeline *t)
{
    struct kage_span *spans = kage_alloc((t->n + 1) * sizeof *spans);

    if (t->n)
        memcpy(spans, t->spans, t->n * sizeof *spans);
    qsort(spans, t->n, sizeof *spans, by_start);
    return spans;
}

/* ---- for people ---- */

static void print_ms(uint64_t us, struct kage_buf *to)
{
    kage_buf_addf(to, "%8" PRIu64 ".%" PRIu64, us / 1000, us / 100 % 10);
}

void kage_timeline_print(const struct kage_timeline *t, const char *title, struct kage_buf *to)
{
    KAGE_CLEANUP(kage_freep) struct kage_span *spans = sorted(t);

    kage_buf_addf(to, "kage: timings of %s, in ms\n     start       took\n", title);
    for (size_t i = 0; i < t->n; i++) {
        KAGE_CLEANUP(kage_freep)
        char *shown = kage_printable(spans[i].name, strlen(spans[i].name));

        print_ms(spans[i].start_us - spans[0].start_us, to);
        kage_buf_addc(to, ' ');
        print_ms(spans[i].end_us - spans[i].start_us, to);
        kage_buf_addf(to, "  %s%s\n", spans[i].side == KAGE_SIDE_GUEST ? "  guest: " : "", shown);
    }
}

/* ---- the Trace Event Format ---- */

/* Each job is a process with two threads, one for either side. */
static void add_name(cJSON *events, const char *what, size_t job, int side, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *clean = kage_report_text(name);
    cJSON *e = cJSON_CreateObject();

    cJSON_AddStringToObject(e, "ph", "M");
    cJSON_AddStringToObject(e, "name", what);
    cJSON_AddNumberToObject(e, "pid", (double)job + 1);
    if (side >= 0)
        cJSON_AddNumberToObject(e, "tid", side + 1);
    cJSON_AddStringToObject(cJSON_AddObjectToObject(e, "args"), "name", clean);
    cJSON_AddItemToArray(events, e);
}

static void add_spans(cJSON *events, size_t job, const struct kage_timeline *t)
{
    KAGE_CLEANUP(kage_freep) struct kage_span *spans = sorted(t);

    for (size_t i = 0; i < t->n; i++) {
        KAGE_CLEANUP(kage_freep) char *clean = kage_report_text(spans[i].name);
        cJSON *e = cJSON_CreateObject();

        cJSON_AddStringToObject(e, "ph", "X");
        cJSON_AddStringToObject(e, "name", clean);
        cJSON_AddStringToObject(e, "cat", side_names[spans[i].side]);
        cJSON_AddNumberToObject(e, "pid", (double)job + 1);
        cJSON_AddNumberToObject(e, "tid", spans[i].side + 1);
        cJSON_AddNumberToObject(e, "ts", (double)spans[i].start_us);
        cJSON_AddNumberToObject(e, "dur", (double)(spans[i].end_us - spans[i].start_us));
        cJSON_AddItemToArray(events, e);
    }
}

int kage_timelines_write(const char *path, const struct kage_plans *plans,
                         const struct kage_result *results, struct kage_error *err)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *events = cJSON_AddArrayToObject(root, "traceEvents");
    struct kage_buf text = {0};
    char *printed;
    int r;

    cJSON_AddStringToObject(root, "displayTimeUnit", "ms");
    for (size_t i = 0; i < plans->n || i < 1; i++) {
        KAGE_CLEANUP(kage_freep)
        char *label = plans->n ? kage_plan_label(plans->items[i]) : kage_strdup("kage");

        add_name(events, "process_name", i, -1, label);
        for (int side = 0; side < 2; side++)
            add_name(events, "thread_name", i, side, side_names[side]);
        add_spans(events, i, &results[i].timeline);
    }
    printed = cJSON_Print(root);
    kage_buf_addf(&text, "%s\n", printed ? printed : "");
    r = kage_report_write_file(path, &text, err);
    kage_buf_done(&text);
    cJSON_free(printed);
    cJSON_Delete(root);
    return r;
}
