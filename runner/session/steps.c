#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/plan/parts.h"
#include "runner/report/output.h"
#include "runner/session/client.h"
#include "runner/session/run_state.h"

/* What a command gets to clean up between TERM and KILL when its time is over, and what the
 * guest gets to report its end after KILL. Generous for an emulated machine. */
#define TERM_GRACE_MS 5000
#define KILL_GRACE_MS 15000

static void next(struct kage_run *run);

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
    if (--run->replies_due == 0)
        next(run);
}

/* Sessions and mounts go out together: their replies come in order, and nothing is spawned before
 * the last of them is there. */
void kage_steps_start(struct kage_run *run)
{
    for (; run->next_step < run->plan->n_steps; run->next_step++) {
        const struct kage_plan_step *step = current(run);

        if (step->kind == KAGE_STEP_SPAWN)
            break;
        run->replies_due++;
        kage_client_request(run->client, kage_plan_step_type(step->kind), step->payload,
                            on_prepared, run);
    }
    if (!run->replies_due)
        next(run);
}

/* ---- commands ---- */

static bool wanted(const struct kage_run *run, const struct kage_plan_step *step)
{
    switch (step->when) {
    case KAGE_WHEN_ON_FAILURE:
        return run->job_failed;
    case KAGE_WHEN_ALWAYS:
        return true;
    default:
        return !run->job_failed;
    }
}

/* The first failing command is the job's verdict; later ones are recorded only. */
static void fail_job(struct kage_run *run, enum kage_class class, int code, struct kage_loc loc,
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

static void end_command(struct kage_run *run, enum kage_command_status status,
                        enum kage_class class, int code, char *message)
{
    const struct kage_plan_step *step = current(run);
    struct kage_command_result *c = &run->result->commands[run->command];

    kage_timer_set(run->command_timer, 0);
    run->command_running = false;
    kage_freep(&run->handle);
    c->status = status;
    c->exit_code = code;
    c->duration_ms = kage_now_ms() - run->command_start_ms;
    c->message = message;
    if (status != KAGE_COMMAND_PASSED && step->continue_on_error)
        kage_run_progress(run, "%s (continuing)", message);
    else if (status != KAGE_COMMAND_PASSED)
        fail_job(run, class, code, step->loc, message);
    run->command++;
    run->next_step++;
    next(run);
}

static char *expected_text(const struct kage_plan_step *step)
{
    struct kage_buf text = {0};

    for (size_t i = 0; i < step->n_expect; i++)
        kage_buf_addf(&text, "%s%d", i ? " or " : "", step->expect[i]);
    return kage_buf_take(&text);
}

static bool expected(const struct kage_plan_step *step, int code)
{
    for (size_t i = 0; i < step->n_expect; i++)
        if (step->expect[i] == code)
            return true;
    return false;
}

static char *exit_text(const struct kage_plan_step *step, const struct kage_msg *msg)
{
    int code = (int)msg->exit.code;
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(step->name, strlen(step->name));
    KAGE_CLEANUP(kage_freep) char *want = expected_text(step);

    if (msg->exit.out_of_memory)
        return kage_asprintf("command '%s' ran out of memory and was killed", name);
    if (msg->exit.signal != KAGE_UNSET)
        return kage_asprintf("command '%s' was killed by signal %d (%s)", name,
                             (int)msg->exit.signal, strsignal((int)msg->exit.signal));
    if (!strcmp(want, "0"))
        return kage_asprintf("command '%s' exited with code %d", name, code);
    return kage_asprintf("command '%s' exited with code %d, expected %s", name, code, want);
}

void kage_steps_on_exit(struct kage_run *run, const struct kage_msg *msg)
{
    const struct kage_plan_step *step = current(run);
    struct kage_command_result *c = &run->result->commands[run->command];
    int code = (int)msg->exit.code;
    bool by_signal = msg->exit.signal != KAGE_UNSET;

    if (by_signal)
        c->signal = (int)msg->exit.signal;
    c->out_of_memory = msg->exit.out_of_memory;
    if (run->timed_out) {
        KAGE_CLEANUP(kage_freep) char *name = kage_printable(step->name, strlen(step->name));
        KAGE_CLEANUP(kage_freep) char *limit = kage_duration_text(step->timeout_ms);

        end_command(run, KAGE_COMMAND_TIMED_OUT, KAGE_CLASS_TIMEOUT, code,
                    kage_asprintf("command '%s' ran longer than its timeout of %s", name, limit));
    } else if (expected(step, code)) {
        end_command(run, KAGE_COMMAND_PASSED, KAGE_CLASS_NONE, code, NULL);
    } else {
        end_command(run, KAGE_COMMAND_FAILED, by_signal ? KAGE_CLASS_SIGNAL : KAGE_CLASS_COMMAND,
                    code, exit_text(step, msg));
    }
}

/* A command that could not be started: 127 when there is no such program, 126 when it cannot be
 * executed, as shells do. Without an errno it is vmd that failed, and that is no verdict. */
static void on_not_started(struct kage_run *run, const struct kage_msg *error)
{
    const struct kage_plan_step *step = current(run);
    int code = error->error.errnum == ENOENT ? 127 : 126;
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(step->name, strlen(step->name));
    KAGE_CLEANUP(kage_freep)
    char *why = kage_printable(error->error.message, strlen(error->error.message));

    if (error->error.errnum == KAGE_UNSET) {
        kage_run_finish(run, KAGE_CLASS_INTERNAL, 0, step->loc,
                        kage_asprintf("the guest could not run command '%s': %s", name, why));
        return;
    }
    if (expected(step, code))
        end_command(run, KAGE_COMMAND_PASSED, KAGE_CLASS_NONE, code, NULL);
    else
        end_command(run, KAGE_COMMAND_FAILED, KAGE_CLASS_COMMAND, code,
                    kage_asprintf("command '%s' could not be started: %s", name, why));
}

static void on_spawned(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;

    if (run->done)
        return;
    if (reply->type == KAGE_MSG_ERROR) {
        on_not_started(run, reply);
        return;
    }
    run->handle = kage_strdup(reply->spawned.handle);
    kage_client_expect(run->client, current(run)->id);
    if (run->timed_out)
        kage_steps_on_timer(run);
}

static void start_command(struct kage_run *run, const struct kage_plan_step *step)
{
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(step->name, strlen(step->name));

    kage_run_progress(run, "[%zu/%zu] %s", run->command + 1, run->result->n_commands, name);
    run->command_running = true;
    run->command_start_ms = kage_now_ms();
    run->timed_out = false;
    run->kills = 0;
    kage_timer_set(run->command_timer, step->timeout_ms);
    kage_client_request(run->client, KAGE_MSG_SPAWN, step->payload, on_spawned, run);
}

static void next(struct kage_run *run)
{
    for (; run->next_step < run->plan->n_steps; run->next_step++, run->command++) {
        if (wanted(run, current(run))) {
            start_command(run, current(run));
            return;
        }
    }
    if (run->options->on_up && !run->job_failed)
        run->options->on_up(run->port, run->qemu.token, run->options->user);
    else
        kage_run_finish(run, KAGE_CLASS_NONE, 0, (struct kage_loc){0}, NULL);
}

/* Time is over for the running command: TERM, then KILL, then the machine is not trusted to
 * answer any more. */
void kage_steps_on_timer(void *user)
{
    struct kage_run *run = user;
    const struct kage_plan_step *step = current(run);
    struct kage_msg msg;

    run->timed_out = true;
    if (!run->handle) {
        /* Not even started; the kill follows from on_spawned, if that still comes. */
        kage_timer_set(run->command_timer, KILL_GRACE_MS);
        if (run->kills++ == 0)
            return;
    }
    if (run->kills >= 2 || !run->handle) {
        KAGE_CLEANUP(kage_freep) char *name = kage_printable(step->name, strlen(step->name));
        struct kage_command_result *c = &run->result->commands[run->command];

        c->status = KAGE_COMMAND_TIMED_OUT;
        c->duration_ms = kage_now_ms() - run->command_start_ms;
        kage_run_finish(
            run, KAGE_CLASS_TIMEOUT, 0, step->loc,
            kage_asprintf("command '%s' ran out of time and did not end when killed", name));
        return;
    }
    kage_msg_init(&msg, KAGE_MSG_KILL);
    msg.kill.handle = run->handle;
    msg.kill.signal = run->kills == 0 ? SIGTERM : SIGKILL;
    kage_client_request_msg(run->client, &msg, NULL, NULL);
    kage_timer_set(run->command_timer, run->kills == 0 ? TERM_GRACE_MS : KILL_GRACE_MS);
    run->kills++;
}

void kage_steps_on_output(struct kage_run *run, bool is_stderr, const uint8_t *data, size_t len)
{
    uint64_t limit = run->plan->output_limit;
    size_t pass = len;

    if (run->done)
        return;
    if (limit && run->output_bytes + len > limit)
        pass = (size_t)(limit - run->output_bytes);
    run->output_bytes += pass;
    kage_output_write(is_stderr ? run->err : run->out, data, pass);
    if (pass < len && !run->done) {
        const struct kage_plan_step *step = current(run);
        struct kage_command_result *c = &run->result->commands[run->command];
        KAGE_CLEANUP(kage_freep) char *name = kage_printable(step->name, strlen(step->name));

        c->status = KAGE_COMMAND_FAILED;
        c->duration_ms = kage_now_ms() - run->command_start_ms;
        kage_run_finish(run, KAGE_CLASS_COMMAND, 1, step->loc,
                        kage_asprintf("command '%s' wrote more than the limit of %" PRIu64
                                      " bytes of output (limits: output)",
                                      name, limit));
    }
}

void kage_steps_on_loss(struct kage_run *run)
{
    if (run->command_running && run->command < run->result->n_commands &&
        run->result->commands[run->command].status == KAGE_COMMAND_NOT_RUN) {
        run->result->commands[run->command].status = KAGE_COMMAND_LOST;
        run->result->commands[run->command].duration_ms = kage_now_ms() - run->command_start_ms;
    }
}
