#include "runner/session/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "runner/report/mask.h"
#include "runner/session/run_state.h"
#include "runner/session/secrets.h"
#include "runner/template/template.h"

/*
 * Theory of operation. A run is one machine, or two: where there is no template yet, the first one
 * boots, is saved and ends, and the second starts from what was saved. Where the plan has
 * checkpoints, the one furthest on takes the template's place, and those after it are made on the
 * way (checkpoint.c). What does not start is thrown away: a checkpoint leaves the one before it,
 * and a template that does not start, or cannot be made, leaves the way of old: a boot.
 */

/* How much of the time a machine may take to boot is spent on waiting for another one that boots.
 */
#define WAIT_FRACTION 6

static void note(const struct kage_run_options *options, const char *what, const char *why)
{
    if (options->progress)
        fprintf(stderr, "kage: %s%s%s\n", what, why ? ": " : "", why ? why : "");
}

/* Whether a machine that did not come up is the run's end, or another way to start it may do. What
 * is wrong with the host, the shares or the time given is wrong for every way. */
static bool ends_the_run(enum kage_class class)
{
    switch (class) {
    case KAGE_CLASS_NONE:
    case KAGE_CLASS_BOOT:
    case KAGE_CLASS_PANIC:
    case KAGE_CLASS_AGENT_LOST:
    case KAGE_CLASS_INTERNAL:
        return false;
    default:
        return true;
    }
}

/* What a run has to start from. */
struct saved {
    char *key; /* the template's; NULL when there is nothing to start from */
    struct kage_checkpoints checkpoints;
    struct kage_template template;
    const struct kage_checkpoint *from; /* the checkpoint that is open; NULL: the template itself */
};

static void on_large(void *user)
{
    note(user, "reading the inputs of the checkpoints, which are large", NULL);
}

/* Boots a machine, saves it and puts the template in place. Returns 0 with it open, 1 to go on
 * without a template, -1 when *result stands already. */
static int make_template(const struct kage_plan *plan, const struct kage_image_files *files,
                         const struct kage_run_options *options, struct kage_template *t,
                         struct kage_result *result)
{
    const struct kage_origin origin = {.how = KAGE_START_SAVE, .template = t};
    struct kage_error err = KAGE_ERROR_INIT;
    int r = 0;

    if (!kage_run_machine(plan, files, options, &origin, result)) {
        r = ends_the_run(result->class) ? -1 : 1;
        if (r > 0)
            note(options, "no template was made", result->message);
    } else if (kage_template_commit(t, plan, NULL, &err) < 0) {
        note(options, "no template was made", err.message);
        r = 1;
    }
    kage_error_done(&err);
    if (r)
        kage_template_discard(t);
    return r;
}

/* Opens the template of that key, or begins one. Where another kage makes it right now, waiting is
 * faster than a boot beside that one unless processors are plenty, and then it is as fast. Returns
 * 0 with *how set, -1 with err set. */
static int obtain(const struct kage_plan *plan, const struct kage_run_options *options,
                  const char *key, struct kage_template *t, enum kage_start *how,
                  struct kage_error *err)
{
    bool waited = false;
    int r = kage_template_open(key, t, err);

    while (r == 1) {
        r = kage_template_begin(key, plan->memory, t, err);
        if (r == 0) {
            struct kage_template made = KAGE_TEMPLATE_INIT;

            /* It may have been finished since it was looked for. */
            *how = KAGE_START_SAVE;
            if (kage_template_open(key, &made, err) == 0) {
                kage_template_discard(t);
                *t = made;
                *how = KAGE_START_RESTORE;
            }
            return 0;
        }
        if (r < 0 || waited)
            break;
        note(options, "waiting for another kage that makes the same template", NULL);
        waited = true;
        switch (kage_template_wait(key, plan->boot_timeout_ms / WAIT_FRACTION)) {
        case KAGE_TEMPLATE_FINISHED:
            r = kage_template_open(key, t, err);
            if (r == 1) /* it could not be made, and this one would fail the same way */
                return 0;
            break;
        case KAGE_TEMPLATE_ABANDONED:
            r = 1;
            break;
        case KAGE_TEMPLATE_TOO_LONG:
            return 0;
        }
    }
    if (r == 0)
        *how = KAGE_START_RESTORE;
    return r < 0 ? -1 : 0;
}

/* Finds what identifies the machine, and the checkpoints of the plan. -1 with err set when an input
 * of one cannot be read. */
static int look(const struct kage_plan *plan, const struct kage_image_files *files,
                const struct kage_run_options *options, struct saved *s, struct kage_error *err)
{
    struct kage_error own = KAGE_ERROR_INIT;

    if (options->cold || !kage_template_possible(plan))
        return 0;
    s->key = kage_template_key(plan, files, &own);
    if (!s->key)
        note(options, "no template can be used", own.message);
    kage_error_done(&own);
    return s->key ? kage_checkpoints_find(plan, s->key, SIZE_MAX, on_large, (void *)options,
                                          &s->checkpoints, err)
                  : 0;
}

/* Opens the checkpoint that leaves least to do. */
static bool open_checkpoint(const struct kage_plan *plan, struct saved *s)
{
    struct kage_error ignored = KAGE_ERROR_INIT;

    for (size_t i = s->checkpoints.n; i-- > 0 && !s->from;) {
        const struct kage_checkpoint *c = &s->checkpoints.items[i];
        struct kage_past_command *past;
        size_t n = 0;

        if (kage_template_open(c->key, &s->template, &ignored) != 0)
            continue;
        past = kage_past_read(s->template.commands, plan, c->step, &n);
        if (past)
            s->from = c;
        else
            kage_template_discard(&s->template);
        kage_past_free(past, n);
    }
    kage_error_done(&ignored);
    return s->from;
}

/* Opens a checkpoint or the template for this plan, or begins a template. */
static enum kage_start choose(const struct kage_plan *plan, const struct kage_run_options *options,
                              struct saved *s)
{
    struct kage_error err = KAGE_ERROR_INIT;
    enum kage_start how = KAGE_START_BOOT;

    s->from = NULL;
    if (!s->key)
        return KAGE_START_BOOT;
    if (open_checkpoint(plan, s))
        return KAGE_START_RESTORE;
    if (obtain(plan, options, s->key, &s->template, &how, &err) < 0)
        note(options, "no template can be used", err.message);
    kage_error_done(&err);
    return how;
}

/* Runs from what was saved. Returns whether *result stands; else what did not start is gone. */
static bool run_saved(const struct kage_plan *plan, const struct kage_image_files *files,
                      const struct kage_run_options *options, struct saved *s,
                      struct kage_result *result)
{
    const struct kage_origin origin = {.how = KAGE_START_RESTORE,
                                       .template = &s->template,
                                       .checkpoints = &s->checkpoints,
                                       .template_key = s->key,
                                       .from = s->from};
    bool up = kage_run_machine(plan, files, options, &origin, result);

    if (up || ends_the_run(result->class)) {
        kage_template_done(&s->template);
        return true;
    }
    note(options,
         s->from ? "the checkpoint did not start, going on without it"
                 : "the template did not start, booting instead",
         result->message);
    kage_template_discard(&s->template);
    return false;
}

static void run_from(const struct kage_plan *plan, const struct kage_image_files *files,
                     const struct kage_run_options *options, struct saved *s,
                     struct kage_result *result)
{
    const struct kage_origin boot = {.how = KAGE_START_BOOT};
    bool checkpoint;

    do {
        enum kage_start how = choose(plan, options, s);

        if (how == KAGE_START_SAVE) {
            int r = make_template(plan, files, options, &s->template, result);

            if (r < 0)
                return;
            how = r ? KAGE_START_BOOT : KAGE_START_RESTORE;
        }
        checkpoint = s->from;
        if (how == KAGE_START_BOOT)
            break;
        if (run_saved(plan, files, options, s, result))
            return;
    } while (checkpoint);
    kage_run_machine(plan, files, options, &boot, result);
}

static void fail(const struct kage_plan *plan, struct kage_error *err, struct kage_result *result)
{
    kage_result_begin(plan, result);
    result->class = err->class;
    result->exit_code = kage_result_exit_code(err->class, 0, 0);
    result->message = KAGE_TAKE(err->message);
    result->loc = err->loc;
}

static void run_plan(const struct kage_plan *plan, const struct kage_image_files *files,
                     const struct kage_run_options *options, struct kage_result *result)
{
    struct saved s = {.template = KAGE_TEMPLATE_INIT};
    struct kage_error err = KAGE_ERROR_INIT;
    uint64_t begin_us = kage_now_us();
    int r = look(plan, files, options, &s, &err);

    if (options->times)
        kage_timeline_add(&result->timeline, KAGE_SIDE_HOST, "look for a template", begin_us,
                          kage_now_us());
    if (r < 0)
        fail(plan, &err, result);
    else
        run_from(plan, files, options, &s, result);
    kage_checkpoints_done(&s.checkpoints);
    kage_error_done(&err);
    free(s.key);
}

/* Everything that is said later is taken from here. */
static void mask_result(const struct kage_mask *mask, struct kage_result *result)
{
    result->message = kage_mask_text(mask, result->message);
    for (size_t i = 0; i < result->n_artifacts; i++)
        result->artifacts[i].message = kage_mask_text(mask, result->artifacts[i].message);
    for (size_t i = 0; i < result->n_commands; i++) {
        struct kage_command_result *c = &result->commands[i];

        c->message = kage_mask_text(mask, c->message);
        for (size_t k = 0; k < c->n_attempts; k++)
            c->attempts[k].message = kage_mask_text(mask, c->attempts[k].message);
    }
}

void kage_run(const struct kage_plan *plan, const struct kage_image_files *files,
              const struct kage_run_options *options, struct kage_result *result)
{
    struct kage_run_options own = *options;
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_secrets secrets = {0};
    struct kage_mask *mask = kage_mask_new();

    own.secrets = &secrets;
    own.mask = mask;
    if (kage_secrets_read(plan, &secrets, mask, &err) < 0) {
        fail(plan, &err, result);
    } else {
        run_plan(plan, files, &own, result);
        mask_result(mask, result);
    }
    result->mask = mask;
    kage_error_done(&err);
    kage_secrets_done(&secrets);
}
