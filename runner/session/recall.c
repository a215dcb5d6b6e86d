#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/proto/message.h"
#include "runner/session/client.h"
#include "runner/session/run_state.h"

/*
 * Theory of operation. A machine comes back from a checkpoint in the same way whether it was saved
 * just now or in an earlier run: vmd is greeted, gives the processes that were parked to whoever
 * greets it, and mounts the shares anew. A later run first takes from the template's note what
 * became of the commands that it will not run.
 */

char *kage_step_share_point(const struct kage_plan_step *step)
{
    KAGE_CLEANUP(kage_freep) char *why = NULL;
    struct kage_msg msg;
    char *point = NULL;

    if (step->kind != KAGE_STEP_MOUNT ||
        kage_msg_decode(&msg, KAGE_MSG_MOUNT, (const uint8_t *)step->payload, strlen(step->payload),
                        &why) != 0)
        return NULL;
    if (!msg.mount.fs || !strcmp(msg.mount.fs, "9p"))
        point = KAGE_TAKE(msg.mount.mount_point);
    kage_msg_done(&msg);
    return point;
}

bool kage_step_mounts_share(const struct kage_plan_step *step)
{
    KAGE_CLEANUP(kage_freep) char *point = kage_step_share_point(step);

    return point;
}

/* The reply that is due: adopt's is the first one, then those of the shares in order. */
static const struct kage_plan_step *mount_due(const struct kage_run *run, size_t nth)
{
    for (size_t i = 0; i < run->plan->n_steps; i++)
        if (kage_step_mounts_share(&run->plan->steps[i]) && nth-- == 0)
            return &run->plan->steps[i];
    return NULL;
}

static void on_back(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;
    size_t nth = run->back_done++;

    if (run->done)
        return;
    if (reply->type == KAGE_MSG_ERROR) {
        KAGE_CLEANUP(kage_freep)
        char *why = kage_printable(reply->error.message, strlen(reply->error.message));
        const struct kage_plan_step *step = nth ? mount_due(run, nth - 1) : NULL;

        kage_run_finish(run, step ? KAGE_CLASS_MOUNT : KAGE_CLASS_INTERNAL, 0,
                        step ? step->loc : (struct kage_loc){0},
                        kage_asprintf("the guest could not %s: %s",
                                      step ? "make a mount" : "go on after a checkpoint", why));
        return;
    }
    if (run->back_done < run->back_due)
        return;
    kage_run_stage(run, run->making ? "make a checkpoint" : "mounts");
    if (run->making)
        kage_checkpoint_conclude(run);
    kage_steps_next(run);
}

static void expect_running(struct kage_run *run)
{
    for (size_t i = 0; i < run->result->n_commands; i++)
        if (run->commands[i].phase == KAGE_PHASE_SERVING)
            kage_client_expect(run->client, run->commands[i].step->id);
}

static char *age_text(int64_t made)
{
    int64_t age = time(NULL) - made;

    /* Seconds say nothing about what is older than a few minutes. */
    return kage_duration_text((uint64_t)(age < 0 ? 0 : age > 300 ? age / 60 * 60 : age) * 1000);
}

/* What a later run finds done. The text was checked before the machine was started. */
static void recall(struct kage_run *run)
{
    size_t n = 0;
    const struct kage_checkpoint *from = run->origin->from;
    struct kage_past_command *past =
        kage_past_read(run->template->commands, run->plan, from->step, &n);
    KAGE_CLEANUP(kage_freep) char *age = age_text(run->template->made);

    for (size_t i = 0; past && i < n; i++) {
        struct kage_command *c = &run->commands[i];
        KAGE_CLEANUP(kage_freep) char *name = kage_printable(c->step->name, strlen(c->step->name));

        c->result->cached = true;
        if (past[i].past == KAGE_PAST_NOT_RUN) {
            c->result->cached = false;
            continue;
        }
        if (past[i].past == KAGE_PAST_RUNNING) {
            kage_command_go_on(c, past[i].handle);
        } else {
            c->phase = KAGE_PHASE_ENDED;
            c->result->status = KAGE_COMMAND_PASSED;
            c->result->exit_code = past[i].exit_code;
        }
        kage_run_progress(run, "[%zu/%zu] %s (from a checkpoint, %s old)", i + 1,
                          run->result->n_commands, name, age);
    }
    kage_past_free(past, n);
    run->next_step = from->step + 1;
    run->command = run->recalled = n;
}

void kage_checkpoint_return(struct kage_run *run)
{
    if (run->making)
        kage_checkpoint_returning(run);
    else
        recall(run);
    run->back_done = 0;
    run->back_due = 1;
    expect_running(run);
    kage_client_request(run->client, KAGE_MSG_ADOPT, "{}", on_back, run);
    for (size_t i = 0; i < run->plan->n_steps; i++) {
        const struct kage_plan_step *step = &run->plan->steps[i];

        if (!kage_step_mounts_share(step))
            continue;
        run->back_due++;
        kage_client_request(run->client, KAGE_MSG_MOUNT, step->payload, on_back, run);
    }
}

/* One that ends before anything was done may have ended while the machine was saved, and would do
 * so in every run. */
void kage_checkpoint_on_failure(const struct kage_command *c)
{
    struct kage_run *run = c->run;
    struct kage_error ignored = KAGE_ERROR_INIT;

    /* Nothing came after it, so it serves in the checkpoint that this run began from, or made. */
    if (run->command > run->recalled)
        return;
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(c->step->name, strlen(c->step->name));
    kage_run_progress(run, "the checkpoint is thrown away: '%s' did not live on in it", name);
    if (run->kept)
        kage_template_remove(run->kept, &ignored);
    else
        run->template->spoilt = true;
    kage_error_done(&ignored);
}
