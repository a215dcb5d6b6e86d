#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/apply/apply.h"
#include "runner/apply/images.h"
#include "runner/apply/pool.h"
#include "runner/apply/screen.h"
#include "runner/apply/spool.h"

/*
 * Theory of operation. A job takes a slot and goes through
 *
 *   started → its process ended and its pipes are empty → judged → shown → the slot is free
 *
 * Grouped output is held back in a spool from which it is shown, one job at a time, in the order
 * they end; prefixed output is shown line by line, and while the screen is busy nothing more is
 * read, which holds the guests back. A slot is free only when its job has been shown, so that a
 * slow reader of kage's output holds the next jobs back, too, and no spools pile up.
 *
 * A signal, a job that fails with --fail-fast and a screen that broke have in common that no more
 * jobs start and those that run are told to end ("stopping").
 */

/* Jobs that were told to end have this long; then they are killed. */
#define END_LIMIT_MS 10000
/* Output nobody reads does not keep alive a kage that was told to end: as for a single run. */
#define DRAIN_MS 2000
/* timeout(1) signals kage and then its process group, so that one end arrives twice: nobody insists
 * as quickly as that. */
#define REPEAT_MS 250

/* ---- stopping ---- */

static void kill_all(struct pool *pool, int signo)
{
    /* Not reaped yet, so the number is still theirs. */
    for (struct slot *s = pool->slots; s; s = s->next)
        if (s->running)
            kill(s->worker.pid, signo);
}

/* No more jobs start, and those that run get this signal. */
static void stop(struct pool *pool, int signo)
{
    pool->stopping = true;
    kill_all(pool, signo);
    kage_timer_set(pool->end_timer, pool->n_running ? END_LIMIT_MS : DRAIN_MS);
}

void kage_pool_ended(struct pool *pool)
{
    if (pool->stopping && !pool->n_running)
        kage_timer_set(pool->end_timer, DRAIN_MS);
}

static void on_end_timer(void *user)
{
    struct pool *pool = user;

    if (!pool->signo && !pool->broken && !pool->n_running)
        return; /* only cancelled: somebody may still read it all */
    pool->give_up = pool->signo || pool->broken;
    kill_all(pool, SIGKILL);
    kage_pool_proceed(pool);
}

static void on_signal(int signo, void *user)
{
    struct pool *pool = user;
    uint64_t now = kage_now_ms();

    if (pool->signo && now - pool->signalled_ms < REPEAT_MS)
        return;
    pool->give_up |= pool->signo != 0;
    if (!pool->signo)
        pool->signo = signo;
    pool->signalled_ms = now;
    stop(pool, signo);
    kage_pool_proceed(pool);
}

void kage_pool_on_broken(int errnum, void *user)
{
    struct pool *pool = user;

    pool->broken = errnum;
    pool->give_up = true;
    stop(pool, SIGTERM);
    /* This may be somewhere inside kage_pool_proceed(). */
    kage_timer_set(pool->soon_timer, 1);
}

static void on_soon(void *user)
{
    kage_pool_proceed(user);
}

/* ---- the verdict of one ---- */

void kage_pool_judge(struct slot *slot)
{
    struct pool *pool = slot->pool;
    const struct kage_plan *plan = pool->plans->items[slot->job];
    struct kage_result *r = &pool->results[slot->job];
    int told = pool->signo ? pool->signo : pool->stopping || slot->spool_error ? SIGTERM : 0;
    bool ended_by_us;

    if (slot->worker.pid > 0)
        kage_worker_judge(plan, slot->status, &slot->report, told, r);
    ended_by_us = r->class == KAGE_CLASS_INTERRUPTED && told;
    if (slot->spool_error && (ended_by_us || r->class == KAGE_CLASS_NONE)) {
        kage_show_fail(r, kage_asprintf("cannot keep the commands' output in %s: %s",
                                        kage_spool_folder(), strerror(slot->spool_error)));
    } else if (pool->broken && ended_by_us) {
        kage_show_fail(
            r, kage_asprintf("cannot write the commands' output: %s", strerror(pool->broken)));
    } else if (pool->culprit && ended_by_us && !pool->signo) {
        r->cancelled = true;
        free(r->message);
        r->message = kage_asprintf("cancelled: %s did not pass", pool->culprit);
    }
    slot->judged = true;
    pool->decided[slot->job] = true;
    pool->n_done++;
    pool->n_failed += r->class != KAGE_CLASS_NONE;
    *pool->last_ended = slot;
    pool->last_ended = &slot->next_ended;
    if (r->class != KAGE_CLASS_NONE && pool->apply->fail_fast && !pool->stopping) {
        pool->culprit = kage_plan_label(plan);
        stop(pool, SIGTERM);
    }
    kage_show_status(pool);
}

static void on_room(void *user)
{
    struct pool *pool = user;

    for (struct slot *s = pool->slots; s; s = s->next)
        kage_slot_resume(s);
    kage_pool_proceed(pool);
}

/* ---- starting ---- */

static void start_job(struct pool *pool)
{
    struct kage_error err = KAGE_ERROR_INIT;
    const struct kage_image_files *files;
    struct slot *slot = kage_slot_new(pool, pool->next++);
    int r;

    files = kage_images_of(pool->images, slot->job, &err);
    r = files ? kage_slot_start(slot, files, &err) : -1;
    if (r < 0) {
        kage_result_begin(pool->plans->items[slot->job], &pool->results[slot->job]);
        kage_apply_fail(&pool->results[slot->job], &err);
        kage_pool_judge(slot);
    }
    kage_show_status(pool);
}

static bool may_start(const struct pool *pool)
{
    const struct kage_apply *apply = pool->apply;

    if (pool->stopping || pool->next == pool->plans->n || pool->n_slots >= KAGE_APPLY_JOBS_MAX)
        return false;
    return apply->jobs ? pool->n_slots < apply->jobs
                       : kage_fit_has_room(&pool->fit, pool->plans->items[pool->next]);
}

void kage_pool_proceed(struct pool *pool)
{
    size_t started;

    /* What was held for the screen has nothing to wait for any more. */
    for (struct slot *s = pool->slots; s && pool->give_up; s = s->next)
        kage_slot_settle(s);
    do {
        kage_show_ended(pool);
        for (started = 0; may_start(pool); started++)
            start_job(pool);
    } while (started);
    if (!pool->slots && (pool->stopping || pool->next == pool->plans->n) &&
        (pool->give_up || !kage_screen_busy(pool->screen)))
        kage_loop_quit(pool->loop);
}

/* ---- the pool ---- */

static int run(struct pool *pool, struct kage_error *err)
{
    static const struct kage_screen_handler handler = {.on_room = on_room,
                                                       .on_broken = kage_pool_on_broken};
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t signals;

    kage_loop_unignored(ends, sizeof ends / sizeof *ends, &signals);
    sigprocmask(SIG_SETMASK, NULL, &pool->mask_before);
    signal(SIGPIPE, SIG_IGN);
    if (kage_loop_new(&pool->loop, err) < 0 ||
        kage_loop_signals(pool->loop, &signals, on_signal, pool, err) < 0 ||
        kage_timer_new(pool->loop, on_end_timer, pool, &pool->end_timer, err) < 0 ||
        kage_timer_new(pool->loop, on_soon, pool, &pool->soon_timer, err) < 0 ||
        kage_screen_new(pool->loop, !pool->apply->quiet, &handler, pool, &pool->screen, err) < 0)
        return -1;
    /* From within the loop, which may be over right away: jobs can fail before they start. */
    kage_timer_set(pool->soon_timer, 1);
    return kage_loop_run(pool->loop, err);
}

/* Whatever has no result yet was not begun, or the loop itself failed. */
static void decide_the_rest(struct pool *pool, struct kage_error *err)
{
    for (size_t i = 0; i < pool->plans->n; i++) {
        const struct kage_plan *plan = pool->plans->items[i];
        struct kage_result *r = &pool->results[i];

        if (pool->decided[i])
            continue;
        if (pool->signo && !err->message) {
            kage_apply_interrupt(plan, pool->signo, r);
        } else if (pool->culprit && !err->message) {
            kage_apply_cancel(plan, pool->culprit, r);
        } else {
            kage_result_begin(plan, r);
            kage_show_fail(r, err->message
                                  ? kage_strdup(err->message)
                                  : kage_asprintf("not run: cannot write the commands' output: %s",
                                                  strerror(pool->broken)));
        }
    }
}

/* No verdict or summary is shown any more, and an exit code alone explains nothing. It may have
 * been standard error that broke, or nobody reads it: never wait. */
static void tell_broken(const struct pool *pool)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&room, 1, 0) > 0 && (room.revents & POLLOUT))
        fprintf(stderr, "kage: cannot write the commands' output: %s; the jobs were ended\n",
                strerror(pool->broken));
}

bool kage_apply_pool(const struct kage_apply *apply, bool prefixed, const struct kage_plans *plans,
                     struct kage_result *results)
{
    struct pool pool = {.apply = apply,
                        .plans = plans,
                        .results = results,
                        .decided = kage_alloc(plans->n + 1),
                        .images = kage_images_new(apply, plans, results),
                        .prefixed = prefixed,
                        .shown = true};
    struct kage_error err = KAGE_ERROR_INIT;

    pool.last_ended = &pool.first_ended;
    kage_fit_look(&pool.fit);
    if (run(&pool, &err) < 0)
        kill_all(&pool, SIGKILL);
    decide_the_rest(&pool, &err);
    if (pool.broken)
        tell_broken(&pool);
    while (pool.slots)
        kage_slot_free(pool.slots);
    kage_screen_free(pool.screen);
    kage_timer_free(pool.end_timer);
    kage_timer_free(pool.soon_timer);
    kage_loop_free(pool.loop);
    kage_images_free(pool.images);
    kage_error_done(&err);
    free(pool.decided);
    free(pool.culprit);
    return pool.shown;
}
