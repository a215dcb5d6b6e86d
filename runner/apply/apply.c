#include "runner/apply/apply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/image/progress.h"

static void on_image_progress(const char *what, void *user)
{
    const struct kage_apply *apply = user;

    if (!apply->quiet)
        kage_image_show(what, false);
}

int kage_apply_image(const struct kage_apply *apply, const struct kage_plan *plan,
                     struct kage_timeline *timeline, struct kage_image_files *ret,
                     struct kage_error *err)
{
    struct kage_apply own = *apply;
    uint64_t begin_us = kage_now_us();
    int r = kage_image_resolve(&plan->image, plan->arch, on_image_progress, &own, ret, err);

    if (apply->times)
        kage_timeline_add(timeline, KAGE_SIDE_HOST, "find the image", begin_us, kage_now_us());
    return r;
}

void kage_apply_fail(struct kage_result *result, struct kage_error *err)
{
    kage_freep(&result->message);
    result->class = err->class;
    result->exit_code = kage_result_exit_code(err->class, 0, 0);
    result->message = KAGE_TAKE(err->message);
    result->loc = err->loc;
    kage_error_done(err);
}

void kage_apply_interrupt(const struct kage_plan *plan, int signo, struct kage_result *result)
{
    kage_result_begin(plan, result);
    result->class = KAGE_CLASS_INTERRUPTED;
    result->exit_code = kage_result_exit_code(KAGE_CLASS_INTERRUPTED, 0, signo);
    result->message = kage_strdup("not run: the run was interrupted");
}

void kage_apply_cancel(const struct kage_plan *plan, const char *culprit,
                       struct kage_result *result)
{
    kage_result_begin(plan, result);
    result->class = KAGE_CLASS_INTERRUPTED;
    result->exit_code = kage_result_exit_code(KAGE_CLASS_INTERRUPTED, 0, 15);
    result->cancelled = true;
    result->message = kage_asprintf("not run: %s did not pass", culprit);
}

void kage_apply_header(const struct kage_apply *apply, const struct kage_plans *plans, size_t i,
                       struct kage_buf *out)
{
    KAGE_CLEANUP(kage_freep) char *label = kage_plan_label(plans->items[i]);
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(label, strlen(label));

    if (plans->n > 1 && !apply->quiet)
        kage_buf_addf(out, "kage: job %zu of %zu: %s\n", i + 1, plans->n, shown);
}

void kage_apply_failure(const struct kage_result *r, struct kage_buf *out)
{
    KAGE_CLEANUP(kage_freep) char *file = NULL;

    kage_buf_adds(out, "kage: ");
    if (r->loc.file && r->loc.line > 0) {
        /* The name of a file that somebody else made may hold anything. */
        file = kage_printable(r->loc.file, strlen(r->loc.file));
        kage_buf_addf(out, "%s:%d:%d: ", file, r->loc.line, r->loc.col);
    }
    kage_buf_addf(out, "%s\n", r->message);
}

void kage_apply_verdict(const struct kage_apply *apply, const struct kage_plan *plan,
                        const struct kage_result *r, struct kage_buf *out)
{
    KAGE_CLEANUP(kage_freep) char *took = kage_duration_text(r->duration_ms);
    KAGE_CLEANUP(kage_freep) char *label = kage_plan_label(plan);
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(label, strlen(label));
    char saved[64] = "";
    size_t ran = 0, cached = 0;

    for (size_t i = 0; i < r->n_commands; i++) {
        ran += r->commands[i].status != KAGE_COMMAND_NOT_RUN;
        cached += r->commands[i].cached;
    }
    if (cached)
        snprintf(saved, sizeof saved, ", %zu of them from a checkpoint", cached);
    if (r->class == KAGE_CLASS_NONE && !apply->quiet && isatty(STDERR_FILENO))
        kage_buf_addf(out, "kage: %s passed: %zu command%s in %s%s\n", shown, ran,
                      ran == 1 ? "" : "s", took, saved);
    if (r->class != KAGE_CLASS_NONE)
        kage_apply_failure(r, out);
    if (apply->timings)
        kage_timeline_print(&r->timeline, shown, out);
}

/* ---- the summary ---- */

static const char *word(const struct kage_result *r)
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
    case KAGE_CLASS_INTERRUPTED:
        return "stopped";
    default:
        return "broken";
    }
}

/* On a terminal every job, in a log those that did not pass: what passed is above already. */
static void list_jobs(const struct kage_apply *apply, const struct kage_plans *plans,
                      const struct kage_result *results)
{
    bool all = !apply->quiet && isatty(STDERR_FILENO);

    for (size_t i = 0; i < plans->n; i++) {
        const struct kage_result *r = &results[i];
        KAGE_CLEANUP(kage_freep) char *label = kage_plan_label(plans->items[i]);
        KAGE_CLEANUP(kage_freep) char *shown = kage_printable(label, strlen(label));

        if (!all && r->class == KAGE_CLASS_NONE)
            continue;
        fprintf(stderr, "kage: %-9s %3d %4" PRIu64 ".%" PRIu64 " s  %s\n", word(r), r->exit_code,
                r->duration_ms / 1000, r->duration_ms / 100 % 10, shown);
    }
}

static void summarise(const struct kage_apply *apply, const struct kage_plans *plans,
                      const struct kage_result *results)
{
    size_t failed = 0;

    if (plans->n < 2)
        return;
    for (size_t i = 0; i < plans->n; i++)
        failed += results[i].class != KAGE_CLASS_NONE;
    list_jobs(apply, plans, results);
    if (failed)
        fprintf(stderr, "kage: %zu of %zu jobs did not pass\n", failed, plans->n);
    else if (!apply->quiet)
        fprintf(stderr, "kage: all %zu jobs passed\n", plans->n);
}

void kage_apply_run(const struct kage_apply *apply, const struct kage_plans *plans,
                    struct kage_result *results)
{
    bool one_by_one = apply->jobs == 1 || plans->n == 1, shown = true;
    bool terminal = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
    bool prefixed =
        apply->output == KAGE_APPLY_AS_FITS ? terminal : apply->output == KAGE_APPLY_PREFIXED;

    if (one_by_one && apply->output == KAGE_APPLY_AS_FITS)
        kage_apply_serial(apply, plans, results);
    else
        shown = kage_apply_pool(apply, prefixed, plans, results);
    if (shown)
        summarise(apply, plans, results);
}
