#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "runner/apply/apply.h"
#include "runner/apply/fit.h"
#include "runner/apply/lines.h"
#include "runner/apply/worker.h"

struct kage_images;
struct kage_loop;
struct kage_screen;
struct kage_spool;
struct kage_timer;
struct kage_watch;

/* The state of several jobs that run at once, shared by pool.c (which jobs run, and how they end),
 * slot.c (the process of one and its pipes) and show.c (what is printed when). */
struct pool;

struct end {
    struct slot *slot;
    int which;
    int fd;
    struct kage_watch *watch;
};

struct slot {
    struct pool *pool;
    size_t job;
    struct kage_worker worker;
    struct kage_watch *exit_watch;
    struct end ends[KAGE_WORKER_ENDS];
    struct kage_buf report;
    struct kage_spool *spool; /* grouped */
    struct kage_lines lines;  /* prefixed */
    int spool_error, status;
    bool running, judged, headed, emptied;
    struct slot *next; /* of all slots in use */
    struct slot *next_ended;
};

struct pool {
    const struct kage_apply *apply;
    const struct kage_plans *plans;
    struct kage_result *results;
    bool *decided; /* which results stand */
    struct kage_images *images;
    struct kage_loop *loop;
    struct kage_screen *screen;
    struct kage_timer *end_timer, *soon_timer;
    sigset_t mask_before;
    struct kage_fit fit;
    bool prefixed;

    struct slot *slots;                     /* in use */
    struct slot *first_ended, **last_ended; /* judged, to be shown */
    size_t next, n_slots, n_running, n_done, n_failed;

    bool stopping, give_up, shown;
    int signo; /* that ended it */
    uint64_t signalled_ms;
    int broken;    /* errno: standard output or error cannot be written */
    char *culprit; /* with --fail-fast: the job that did not pass */
};

/* ---- pool.c ---- */

/* Shows what can be shown, starts what can be started, ends when nothing is left. Not to be called
 * from within a slot's or the screen's functions. */
void kage_pool_proceed(struct pool *pool);
/* A process has ended, perhaps the last one. */
void kage_pool_ended(struct pool *pool);
/* The screen cannot be written any more. */
void kage_pool_on_broken(int errnum, void *pool);
/* The slot's process is gone and all it wrote has been read. */
void kage_pool_judge(struct slot *slot);

/* ---- slot.c ---- */

struct slot *kage_slot_new(struct pool *pool, size_t job);
/* Starts the job's process. */
int kage_slot_start(struct slot *slot, const struct kage_image_files *files,
                    struct kage_error *err);
/* A slot whose process is gone is judged once its pipes are empty. */
void kage_slot_settle(struct slot *slot);
/* Goes on reading after the screen was busy. */
void kage_slot_resume(struct slot *slot);
void kage_slot_free(struct slot *slot);

/* ---- show.c ---- */

void kage_show_status(struct pool *pool);
/* What came on one stream of a prefixed job, and perhaps its end. */
void kage_show_lines(struct slot *slot, bool is_stderr, const void *data, size_t len, bool end);
/* Shows jobs that are over, as far as the screen takes it, and frees their slots. */
void kage_show_ended(struct pool *pool);
/* A job whose output was lost: class host. Takes the message. */
void kage_show_fail(struct kage_result *result, char *message);
