#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/apply/pool.h"
#include "runner/apply/screen.h"
#include "runner/apply/spool.h"

/* What a result can come to: as a plan, which has the same commands. */
#define REPORT_MAX (64u << 20)
/* Prefixes are padded to the longest label, but not beyond this. */
#define LABEL_WIDTH_MAX 40

/* ---- reading ---- */

static void keep(struct slot *slot, bool is_stderr, const void *data, size_t len)
{
    int e = kage_spool_add(slot->spool, is_stderr, data, len);

    if (e && !slot->spool_error && slot->running)
        kill(slot->worker.pid, SIGTERM);
    slot->spool_error = e;
}

static void close_end(struct end *end)
{
    kage_watch_free(end->watch);
    end->watch = NULL;
    kage_closep(&end->fd);
}

static bool is_held(const struct end *end)
{
    return end->slot->pool->prefixed && end->which != KAGE_WORKER_REPORT &&
           kage_screen_busy(end->slot->pool->screen);
}

/* Reads once. Returns whether there may be more. */
static bool read_end(struct end *end)
{
    struct slot *slot = end->slot;
    char chunk[65536];
    ssize_t n = read(end->fd, chunk, sizeof chunk);

    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN && slot->running)
        return false;
    /* After its end what still holds the pipe is nobody's business. */
    if (n <= 0) {
        if (slot->pool->prefixed && end->which != KAGE_WORKER_REPORT)
            kage_show_lines(slot, end->which == KAGE_WORKER_ERR, "", 0, true);
        close_end(end);
        return false;
    }
    if (end->which == KAGE_WORKER_REPORT) {
        if (slot->report.len < REPORT_MAX)
            kage_buf_add(&slot->report, chunk, (size_t)n);
    } else if (slot->pool->prefixed) {
        kage_show_lines(slot, end->which == KAGE_WORKER_ERR, chunk, (size_t)n, false);
    } else {
        keep(slot, end->which == KAGE_WORKER_ERR, chunk, (size_t)n);
    }
    return true;
}

static void on_readable(uint32_t events, void *user)
{
    struct end *end = user;
    struct slot *slot = end->slot;

    if (is_held(end))
        kage_watch_set(end->watch, 0); /* kage_slot_resume() goes on */
    else
        read_end(end);
    kage_slot_settle(slot);
    kage_pool_proceed(slot->pool);
}

static void on_worker_exit(uint32_t events, void *user)
{
    struct slot *slot = user;
    struct pool *pool = slot->pool;

    kage_watch_free(slot->exit_watch);
    slot->exit_watch = NULL;
    while (waitpid(slot->worker.pid, &slot->status, 0) < 0 && errno == EINTR)
        ;
    slot->running = false;
    pool->n_running--;
    kage_fit_remove(&pool->fit, pool->plans->items[slot->job]);
    kage_pool_ended(pool);
    kage_slot_settle(slot);
    kage_pool_proceed(pool);
}

void kage_slot_settle(struct slot *slot)
{
    bool empty = true;

    for (int i = 0; i < KAGE_WORKER_ENDS && !slot->running; i++) {
        while (slot->ends[i].fd >= 0 && (!is_held(&slot->ends[i]) || slot->pool->give_up) &&
               read_end(&slot->ends[i]))
            ;
        empty &= slot->ends[i].fd < 0;
    }
    if (!slot->running && empty && !slot->judged)
        kage_pool_judge(slot);
}

void kage_slot_resume(struct slot *slot)
{
    for (int i = 0; i < KAGE_WORKER_ENDS; i++)
        if (slot->ends[i].watch)
            kage_watch_set(slot->ends[i].watch, EPOLLIN);
}

/* ---- life ---- */

static char *prefix_of(const struct pool *pool, size_t job)
{
    size_t width = 0, own = 0;
    KAGE_CLEANUP(kage_freep) char *shown = NULL;

    for (size_t i = 0; i < pool->plans->n; i++) {
        KAGE_CLEANUP(kage_freep) char *label = kage_plan_label(pool->plans->items[i]);
        KAGE_CLEANUP(kage_freep) char *text = kage_printable(label, strlen(label));
        size_t n = 0;

        for (const char *p = text; *p; p++)
            n += ((unsigned char)*p & 0xc0) != 0x80;
        if (n > width)
            width = n;
        if (i == job) {
            own = n;
            shown = KAGE_TAKE(text);
        }
    }
    if (width > LABEL_WIDTH_MAX)
        width = LABEL_WIDTH_MAX;
    return kage_asprintf("%s%*s", shown, own < width ? (int)(width - own) : 0, "");
}

static int watch(struct slot *slot, struct kage_error *err)
{
    struct pool *pool = slot->pool;

    for (int i = 0; i < KAGE_WORKER_ENDS; i++)
        slot->ends[i].fd = slot->worker.ends[i];
    if (kage_watch_new(pool->loop, slot->worker.pidfd, EPOLLIN, on_worker_exit, slot,
                       &slot->exit_watch, err) < 0)
        return -1;
    for (int i = 0; i < KAGE_WORKER_ENDS; i++) {
        struct end *end = &slot->ends[i];

        if (kage_watch_new(pool->loop, end->fd, EPOLLIN, on_readable, end, &end->watch, err) < 0)
            return -1;
    }
    return 0;
}

int kage_slot_start(struct slot *slot, const struct kage_image_files *files, struct kage_error *err)
{
    struct pool *pool = slot->pool;
    const struct kage_plan *plan = pool->plans->items[slot->job];
    struct kage_run_options options = {.cold = pool->apply->cold,
                                       .times = pool->apply->times,
                                       .started_ms =
                                           slot->job ? kage_now_ms() : pool->apply->started_ms};

    if (kage_worker_start(plan, files, &options, &pool->mask_before, &slot->worker, err) < 0)
        return -1;
    slot->running = true;
    if (watch(slot, err) < 0) {
        kill(slot->worker.pid, SIGKILL);
        waitpid(slot->worker.pid, NULL, 0);
        slot->running = false;
        slot->worker.pid = -1;
        return -1;
    }
    pool->n_running++;
    kage_fit_add(&pool->fit, plan);
    return 0;
}

struct slot *kage_slot_new(struct pool *pool, size_t job)
{
    struct slot *slot = kage_alloc(sizeof *slot), **at = &pool->slots;

    *slot = (struct slot){.pool = pool, .job = job, .worker = {.pid = -1, .pidfd = -1}};
    for (int i = 0; i < KAGE_WORKER_ENDS; i++)
        slot->ends[i] = (struct end){.slot = slot, .which = i, .fd = -1};
    if (pool->prefixed)
        slot->lines.prefix = prefix_of(pool, job);
    else
        slot->spool = kage_spool_new();
    while (*at)
        at = &(*at)->next;
    *at = slot;
    pool->n_slots++;
    return slot;
}

void kage_slot_free(struct slot *slot)
{
    struct pool *pool = slot->pool;
    struct slot **at = &pool->slots;

    while (*at != slot)
        at = &(*at)->next;
    *at = slot->next;
    pool->n_slots--;
    kage_watch_free(slot->exit_watch);
    kage_closep(&slot->worker.pidfd);
    for (int i = 0; i < KAGE_WORKER_ENDS; i++)
        close_end(&slot->ends[i]);
    kage_buf_done(&slot->report);
    kage_spool_free(slot->spool);
    kage_lines_done(&slot->lines);
    free(slot);
}
