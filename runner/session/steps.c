#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/plan/parts.h"
#include "runner/session/artifacts.h"
#include "runner/session/client.h"
#include "runner/session/command.h"
#include "runner/session/run_state.h"

static const struct kage_plan_step *current(const struct kage_run *run)
{
    return &run->plan->steps[run->next_step];
}

/* ---- sessions and mounts ---- */

static const char *describe(enum kage_plan_step_kind kind)
{
    return kind == KAGE_STEP_SESSION ? "create a user's session" : "make a mount";
}

/* Replies come in the order of the requests, so the one that is due belongs to the next step. */
static void on_prepared(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;
    const struct kage_plan_step *step = &run->plan->steps[run->next_step - run->replies_due];

    if (run->done)
        return;
    if (reply->type == KAGE_MSG_ERROR) {
        KAGE_CLEANUP(kage_freep)
        char *why = kage_printable(reply->error.message, strlen(reply->error.message));

        kage_run_finish(run, KAGE_CLASS_MOUNT, 0, step->loc,
                        kage_asprintf("the guest could not %s: %s", describe(step->kind), why));
        return;
    }
    if (--run->replies_due == 0) {
        kage_run_stage(run, "sessions and mounts");
        kage_steps_next(run);
    }
}

/* Sessions and mounts go out together: their replies come in order, and nothing is spawned before
 * the last of them is there. */
void kage_steps_start(struct kage_run *run)
{
    if (run->origin->from) {
        kage_checkpoint_return(run);
        return;
    }
    for (; run->next_step < run->plan->n_steps; run->next_step++) {
        const struct kage_plan_step *step = current(run);

        if (step->kind == KAGE_STEP_SPAWN)
            break;
        run->replies_due++;
        kage_client_request(run->client, kage_plan_step_type(step->kind), step->payload,
                            on_prepared, run);
    }
    if (!run->replies_due)
        kage_steps_next(run);
}

/* ---- commands ---- */

bool kage_steps_wanted(const struct kage_run *run, enum kage_when when)
{
    switch (when) {
    case KAGE_WHEN_ON_FAILURE:
        return run->job_failed;
    case KAGE_WHEN_ALWAYS:
        return true;
    default:
        return !run->job_failed;
    }
}

/* The first failing command is the job's verdict; later ones are recorded only. */
void kage_steps_fail(struct kage_run *run, enum kage_class class, int code, struct kage_loc loc,
                     const char *message)
{
    struct kage_result *r = run->result;

    if (run->job_failed)
        return;
    run->job_failed = true;
    r->class = class;
    r->exit_code = kage_result_exit_code(class, code, 0);
    r->loc = loc;
    r->message = kage_strdup(message);
}

static void stop_background(struct kage_run *run)
{
    bool waiting = false;

    for (size_t i = 0; i < run->result->n_commands; i++) {
        struct kage_command *c = &run->commands[i];

        if (c->phase == KAGE_PHASE_SERVING)
            kage_command_stop(c);
        waiting |= c->phase == KAGE_PHASE_STOPPING;
    }
    if (!waiting)
        kage_artifacts_start(run);
}

/* What a machine that stays is asked to run may stay, too. */
static void commands_over(struct kage_run *run)
{
    run->ending = true;
    if (run->options->on_up && !run->job_failed)
        run->options->on_up(run->port, run->qemu.token, run->options->user);
    else
        stop_background(run);
}

void kage_steps_next(struct kage_run *run)
{
    for (; run->next_step < run->plan->n_steps; run->next_step++, run->command++) {
        const struct kage_plan_step *step = current(run);
        KAGE_CLEANUP(kage_freep) char *name = NULL;

        if (!kage_steps_wanted(run, step->when))
            continue;
        name = kage_printable(step->name, strlen(step->name));
        kage_run_progress(run, "[%zu/%zu] %s", run->command + 1, run->result->n_commands, name);
        run->command_running = true;
        kage_command_start(&run->commands[run->command]);
        return;
    }
    commands_over(run);
}

static void go_on(struct kage_run *run)
{
    size_t step = run->next_step;

    run->command_running = false;
    run->command++;
    run->next_step++;
    if (!kage_checkpoint_make(run, step))
        kage_steps_next(run);
}

void kage_steps_ended(struct kage_command *c, enum kage_phase was)
{
    if (was == KAGE_PHASE_RUNNING || was == KAGE_PHASE_STARTING)
        go_on(c->run);
    else if (was == KAGE_PHASE_STOPPING && !c->run->done)
        stop_background(c->run);
}

void kage_steps_ready(struct kage_command *c)
{
    go_on(c->run);
}

/* ---- what comes from the guest ---- */

/* The ids of the plan: its commands from 1, then as many for the programs that tell whether one is
 * ready. NULL with an id that is none. */
static struct kage_command *by_id(struct kage_run *run, uint32_t id, bool *ret_program)
{
    size_t n = run->result->n_commands;

    *ret_program = id > n;
    if (id < 1 || id > 2 * n)
        return NULL;
    return &run->commands[(id - 1) % n];
}

uint32_t kage_steps_free_id(const struct kage_run *run)
{
    return (uint32_t)(2 * run->result->n_commands + 1);
}

void kage_steps_on_output(struct kage_run *run, uint32_t id, bool is_stderr, const uint8_t *data,
                          size_t len)
{
    bool program;
    struct kage_command *c = by_id(run, id, &program);

    if (run->done)
        return;
    if (!c)
        kage_artifacts_on_output(run, is_stderr, data, len);
    else if (!program)
        kage_command_on_output(c, is_stderr, data, len);
}

void kage_steps_on_exit(struct kage_run *run, uint32_t id, const struct kage_msg *msg)
{
    bool program;
    struct kage_command *c = by_id(run, id, &program);

    if (c && program)
        kage_ready_on_exit(c, msg);
    else if (c)
        kage_command_on_exit(c, msg);
    else
        kage_artifacts_on_exit(run, msg);
}

void kage_steps_on_loss(struct kage_run *run)
{
    for (size_t i = 0; run->commands && i < run->result->n_commands; i++) {
        struct kage_command *c = &run->commands[i];

        if (!c->alive || c->result->status != KAGE_COMMAND_NOT_RUN)
            continue;
        c->result->status = KAGE_COMMAND_LOST;
        c->result->duration_ms = kage_now_ms() - c->first_start_ms;
    }
}
