#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "runner/image/image.h"
#include "runner/plan/plan.h"
#include "runner/report/result.h"

/*
 * Running jobs, one after another in this process (serial.c) or several at once,
 * each in a process of its own (pool.c).
 */
enum kage_apply_output {
    KAGE_APPLY_AS_FITS,  /* one at a time: as it comes; else prefixed on a terminal, or grouped */
    KAGE_APPLY_GROUPED,  /* each job's when it is over */
    KAGE_APPLY_PREFIXED, /* line by line, with the job's name */
};

struct kage_apply {
    unsigned jobs; /* at once; 0 for as many as fit */
    enum kage_apply_output output;
    bool quiet, cold, fail_fast;
    bool times;          /* fill the results' timelines */
    bool timings;        /* and show them */
    uint64_t started_ms; /* kage_now_ms() when the program began */
};

/* The most that --jobs takes: each running job holds five descriptors, of the usual 1024. */
#define KAGE_APPLY_JOBS_MAX 128u

/* Runs them all and says on standard error what became of each, and of all. Fills one result for
 * each plan. */
void kage_apply_run(const struct kage_apply *apply, const struct kage_plans *plans,
                    struct kage_result *results);

/* ---- parts ---- */

void kage_apply_serial(const struct kage_apply *apply, const struct kage_plans *plans,
                       struct kage_result *results);
/* Returns whether everything that was to be shown could be. */
bool kage_apply_pool(const struct kage_apply *apply, bool prefixed, const struct kage_plans *plans,
                     struct kage_result *results);

/* Finds, downloads or builds an image, telling about it on a terminal and on the timeline. */
int kage_apply_image(const struct kage_apply *apply, const struct kage_plan *plan,
                     struct kage_timeline *timeline, struct kage_image_files *ret,
                     struct kage_error *err);

/* A job that came to no verdict. Takes err's message. */
void kage_apply_fail(struct kage_result *result, struct kage_error *err);
/* A job that was not begun after a signal, or after `culprit` (its label) did not pass. */
void kage_apply_interrupt(const struct kage_plan *plan, int signo, struct kage_result *result);
void kage_apply_cancel(const struct kage_plan *plan, const char *culprit,
                       struct kage_result *result);

/* Lines for standard error: above a job's output, and below it. */
void kage_apply_header(const struct kage_apply *apply, const struct kage_plans *plans, size_t i,
                       struct kage_buf *out);
void kage_apply_verdict(const struct kage_apply *apply, const struct kage_plan *plan,
                        const struct kage_result *result, struct kage_buf *out);
/* Why a job did not pass, and where in its spec that belongs. */
void kage_apply_failure(const struct kage_result *result, struct kage_buf *out);
