#include <errno.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/apply/pool.h"
#include "runner/apply/screen.h"
#include "runner/apply/spool.h"

/* ---- the status line ---- */

void kage_show_status(struct pool *pool)
{
    struct kage_buf text = {0};
    const char *sep = "; running: ";

    kage_buf_addf(&text, "kage: %zu of %zu done", pool->n_done, pool->plans->n);
    if (pool->n_failed)
        kage_buf_addf(&text, ", %zu not passed", pool->n_failed);
    for (struct slot *s = pool->slots; s; s = s->next) {
        KAGE_CLEANUP(kage_freep) char *label = NULL;

        if (!s->running)
            continue;
        label = kage_plan_label(pool->plans->items[s->job]);
        kage_buf_addf(&text, "%s%s", sep, label);
        sep = ", ";
    }
    kage_screen_status(pool->screen, pool->n_running ? text.data : NULL);
    kage_buf_done(&text);
}

void kage_show_fail(struct kage_result *r, char *message)
{
    struct kage_error err = {.class = KAGE_CLASS_HOST, .message = message};

    kage_apply_fail(r, &err);
}

void kage_show_lines(struct slot *slot, bool is_stderr, const void *data, size_t len, bool end)
{
    struct kage_buf out = {0};

    kage_lines_add(&slot->lines, is_stderr, data, len, &out);
    if (end)
        kage_lines_end(&slot->lines, is_stderr, &out);
    kage_screen_write(slot->pool->screen, is_stderr, out.data, out.len);
    kage_buf_done(&out);
}

/* The next piece of a job that has ended. Returns whether there was one. */
static bool show_next(struct slot *slot)
{
    struct pool *pool = slot->pool;
    const struct kage_plan *plan = pool->plans->items[slot->job];
    char chunk[65536];
    bool is_stderr = true;
    struct kage_buf text = {0};
    long n;

    if (!slot->headed && !pool->prefixed) {
        slot->headed = true;
        kage_apply_header(pool->apply, pool->plans, slot->job, &text);
        kage_screen_write(pool->screen, true, text.data, text.len);
    } else if (!slot->emptied && !pool->prefixed &&
               (n = kage_spool_take(slot->spool, chunk, sizeof chunk, &is_stderr)) != 0) {
        if (n < 0)
            kage_pool_on_broken(errno, pool);
        else
            kage_screen_write(pool->screen, is_stderr, chunk, (size_t)n);
    } else if (!slot->emptied) {
        slot->emptied = true;
        kage_apply_verdict(pool->apply, plan, &pool->results[slot->job], &text);
        if (pool->prefixed)
            kage_show_lines(slot, true, text.data, text.len, true);
        else
            kage_screen_write(pool->screen, true, text.data, text.len);
    } else {
        return false;
    }
    kage_buf_done(&text);
    return true;
}

/* What was given up was not delivered: no pass. */
static void leave_unseen(struct pool *pool, size_t job)
{
    struct kage_result *r = &pool->results[job];

    pool->shown = false;
    if (r->class == KAGE_CLASS_NONE && pool->broken)
        kage_show_fail(
            r, kage_asprintf("cannot write the commands' output: %s", strerror(pool->broken)));
    else if (r->class == KAGE_CLASS_NONE)
        kage_apply_interrupt(pool->plans->items[job], pool->signo, r);
}

/* Shows what is over, as far as the screen takes it. */
void kage_show_ended(struct pool *pool)
{
    struct slot *slot;

    while ((slot = pool->first_ended) && (pool->give_up || !kage_screen_busy(pool->screen))) {
        if (!pool->give_up && show_next(slot))
            continue;
        if (!slot->emptied)
            leave_unseen(pool, slot->job);
        pool->first_ended = slot->next_ended;
        if (!pool->first_ended)
            pool->last_ended = &pool->first_ended;
        kage_slot_free(slot);
    }
}
