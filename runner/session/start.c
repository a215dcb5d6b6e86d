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
 * boots, is saved and ends, and the second starts from what was saved. A template that does not
 * start, or cannot be made, leaves the way of old: a boot.
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

/* Boots a machine, saves it and puts the template in place. Returns 0 with *t open, 1 to go on
 * without a template, -1 when *result stands already. */
static int make_template(const struct kage_plan *plan, const struct kage_image_files *files,
                         const struct kage_run_options *options, struct kage_template *t,
                         struct kage_result *result)
{
    struct kage_error err = KAGE_ERROR_INIT;
    int r = 0;

    if (!kage_run_machine(plan, files, options, KAGE_START_SAVE, t, result)) {
        r = ends_the_run(result->class) ? -1 : 1;
        if (r > 0)
            note(options, "no template was made", result->message);
    } else if (kage_template_commit(t, plan, &err) < 0) {
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

/* Opens the template for this plan, or begins one. */
static enum kage_start choose(const struct kage_plan *plan, const struct kage_image_files *files,
                              const struct kage_run_options *options, struct kage_template *t)
{
    struct kage_error err = KAGE_ERROR_INIT;
    KAGE_CLEANUP(kage_freep) char *key = NULL;
    enum kage_start how = KAGE_START_BOOT;

    if (options->cold || !kage_template_possible(plan))
        return KAGE_START_BOOT;
    key = kage_template_key(plan, files, &err);
    if (!key || obtain(plan, options, key, t, &how, &err) < 0)
        note(options, "no template can be used", err.message);
    kage_error_done(&err);
    return how;
}

static void run_plan(const struct kage_plan *plan, const struct kage_image_files *files,
                     const struct kage_run_options *options, struct kage_result *result)
{
    struct kage_template t = KAGE_TEMPLATE_INIT;
    uint64_t begin_us = kage_now_us();
    enum kage_start how = choose(plan, files, options, &t);

    if (options->times)
        kage_timeline_add(&result->timeline, KAGE_SIDE_HOST, "look for a template", begin_us,
                          kage_now_us());
    if (how == KAGE_START_SAVE) {
        int r = make_template(plan, files, options, &t, result);

        if (r < 0)
            return;
        how = r ? KAGE_START_BOOT : KAGE_START_RESTORE;
    }
    if (how == KAGE_START_RESTORE) {
        bool up = kage_run_machine(plan, files, options, how, &t, result);

        if (up || ends_the_run(result->class)) {
            kage_template_done(&t);
            return;
        }
        note(options, "the template did not start, booting instead", result->message);
        kage_template_discard(&t);
    }
    kage_run_machine(plan, files, options, KAGE_START_BOOT, NULL, result);
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
        kage_result_begin(plan, result);
        result->class = err.class;
        result->exit_code = kage_result_exit_code(err.class, 0, 0);
        result->message = KAGE_TAKE(err.message);
        result->loc = err.loc;
    } else {
        run_plan(plan, files, &own, result);
        mask_result(mask, result);
    }
    result->mask = mask;
    kage_error_done(&err);
    kage_secrets_done(&secrets);
}
