#include <stdio.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "runner/apply/apply.h"
#include "runner/session/run.h"

static void run_job(const struct kage_apply *apply, const struct kage_plan *plan,
                    uint64_t started_ms, struct kage_result *result)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_image_files files = {0};
    struct kage_run_options options = {.progress = !apply->quiet && isatty(STDERR_FILENO),
                                       .cold = apply->cold,
                                       .times = apply->times,
                                       .started_ms = started_ms};

    if (kage_apply_image(apply, plan, &result->timeline, &files, &err) < 0)
        kage_apply_fail(result, &err);
    else
        kage_run(plan, &files, &options, result);
    kage_image_files_done(&files);
}

static void print(struct kage_buf *text)
{
    if (text->len)
        fwrite(text->data, 1, text->len, stderr);
    kage_buf_clear(text);
}

/* What follows a header on standard error is that job's output. */
void kage_apply_serial(const struct kage_apply *apply, const struct kage_plans *plans,
                       struct kage_result *results)
{
    KAGE_CLEANUP(kage_freep) char *culprit = NULL;
    struct kage_buf text = {0};
    int signo = 0;

    for (size_t i = 0; i < plans->n; i++) {
        const struct kage_plan *plan = plans->items[i];

        if (signo) {
            kage_apply_interrupt(plan, signo, &results[i]);
            continue;
        }
        if (culprit) {
            kage_apply_cancel(plan, culprit, &results[i]);
            continue;
        }
        kage_apply_header(apply, plans, i, &text);
        print(&text);
        run_job(apply, plan, i ? kage_now_ms() : apply->started_ms, &results[i]);
        kage_apply_verdict(apply, plan, &results[i], &text);
        print(&text);
        if (results[i].class == KAGE_CLASS_INTERRUPTED)
            signo = results[i].exit_code - 128;
        else if (results[i].class != KAGE_CLASS_NONE && apply->fail_fast)
            culprit = kage_plan_label(plan);
    }
    kage_buf_done(&text);
}
