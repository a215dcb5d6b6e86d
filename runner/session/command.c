#include "runner/session/command.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/report/output.h"
#include "runner/session/client.h"
#include "runner/session/run_state.h"
#include "runner/session/secrets.h"

/* What a command gets to clean up between TERM and KILL when its time is over, and what the
 * guest gets to report its end after KILL. Generous for an emulated machine. */
#define TERM_GRACE_MS 5000
#define KILL_GRACE_MS 15000
#define SAVING_RETRY_MS 50

/* How an attempt ended. */
struct outcome {
    enum kage_command_status status;
    enum kage_class class;
    int code;
    char *message; /* owned; NULL when it passed */
};

static const struct outcome passed = {.status = KAGE_COMMAND_PASSED, .class = KAGE_CLASS_NONE};

/* "command 'x'", "background command 'x'". Owned. */
static char *called(const struct kage_command *c)
{
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(c->step->name, strlen(c->step->name));

    return kage_asprintf("%scommand '%s'", c->step->background ? "background " : "", name);
}

/* ---- output ---- */

static void pass_on(struct kage_command *c, bool is_stderr, const void *data, size_t len, bool end)
{
    struct kage_run *run = c->run;
    struct kage_buf shown = {0};

    kage_mask_write(run->options->mask, &c->streams[is_stderr], data, len, end, &shown);
    if (shown.len)
        kage_output_write(is_stderr ? run->err : run->out, shown.data, shown.len);
    kage_buf_done(&shown);
}

void kage_command_on_output(struct kage_command *c, bool is_stderr, const uint8_t *data, size_t len)
{
    struct kage_run *run = c->run;
    uint64_t limit = run->plan->output_limit;
    size_t pass = len;

    if (limit && c->output_bytes + len > limit)
        pass = (size_t)(limit - c->output_bytes);
    c->output_bytes += pass;
    pass_on(c, is_stderr, data, pass, pass < len);
    if (pass < len) {
        KAGE_CLEANUP(kage_freep) char *name = called(c);

        c->result->status = KAGE_COMMAND_FAILED;
        c->result->duration_ms = kage_now_ms() - c->first_start_ms;
        kage_run_finish(run, KAGE_CLASS_COMMAND, 1, c->step->loc,
                        kage_asprintf("%s wrote more than the limit of %" PRIu64
                                      " bytes of output (limits: output)",
                                      name, limit));
        return;
    }
    if (c->phase == KAGE_PHASE_STARTING)
        kage_ready_on_output(c, is_stderr, data, len);
}

/* ---- the timeline ---- */

static void note_start(struct kage_command *c, const struct kage_msg *spawned)
{
    KAGE_CLEANUP(kage_freep) char *what = kage_asprintf("start %s", c->step->name);

    c->started_us = spawned->spawned.started_us;
    kage_run_guest_span(c->run, what, spawned->spawned.asked_us, c->started_us);
}

static void note_end(struct kage_command *c, const struct kage_msg *exit)
{
    struct kage_run *run = c->run;
    KAGE_CLEANUP(kage_freep) char *what = kage_asprintf("run %s", c->step->name);

    kage_run_guest_span(run, what, c->started_us, exit->exit.ended_us);
    if (run->options->times)
        kage_timeline_add(&run->result->timeline, KAGE_SIDE_HOST, what, c->start_us, kage_now_us());
}

/* ---- attempts ---- */

static void on_spawned(const struct kage_msg *reply, void *user);

static void start_attempt(struct kage_command *c)
{
    struct kage_run *run = c->run;
    const struct kage_plan_step *step = c->step;
    KAGE_CLEANUP(kage_freep)
    char *payload = kage_secrets_fill(run->options->secrets, run->plan, step, step->payload);
    uint64_t limit = step->timeout_ms;

    c->attempt++;
    c->phase = step->background ? KAGE_PHASE_STARTING : KAGE_PHASE_RUNNING;
    c->alive = true;
    c->start_us = kage_now_us();
    c->start_ms = c->start_us / 1000;
    c->started_us = KAGE_UNSET;
    c->late = false;
    c->kills = 0;
    if (step->ready.kind != KAGE_READY_NONE && (!limit || step->ready.timeout_ms < limit))
        limit = step->ready.timeout_ms;
    kage_timer_set(c->timer, limit);
    kage_client_request(run->client, KAGE_MSG_SPAWN, payload, on_spawned, c);
    explicit_bzero(payload, strlen(payload));
}

void kage_command_go_on(struct kage_command *c, const char *handle)
{
    c->phase = KAGE_PHASE_SERVING;
    c->alive = true;
    c->attempt = 1;
    c->start_us = kage_now_us();
    c->started_us = KAGE_UNSET; /* by the clock of another life of the machine */
    c->first_start_ms = c->start_ms = c->start_us / 1000;
    c->handle = kage_strdup(handle);
    kage_timer_set(c->timer, c->step->timeout_ms);
}

void kage_command_start(struct kage_command *c)
{
    c->first_start_ms = kage_now_ms();
    start_attempt(c);
}

static void note_attempt(struct kage_command *c, const struct outcome *o)
{
    struct kage_command_result *r = c->result;
    struct kage_attempt *a;

    r->attempts = kage_realloc(r->attempts, (r->n_attempts + 1) * sizeof *r->attempts);
    a = &r->attempts[r->n_attempts++];
    *a = (struct kage_attempt){.status = o->status,
                               .exit_code = o->code,
                               .signal = r->signal,
                               .out_of_memory = r->out_of_memory,
                               .duration_ms = kage_now_ms() - c->start_ms,
                               .message = kage_strdup(o->message)};
}

/* The command is over for good. Takes the outcome's message. */
static void conclude(struct kage_command *c, struct outcome *o)
{
    struct kage_command_result *r = c->result;
    enum kage_phase was = c->phase;

    c->phase = KAGE_PHASE_ENDED;
    r->status = o->status;
    r->exit_code = o->code;
    r->duration_ms = kage_now_ms() - c->first_start_ms;
    r->message = KAGE_TAKE(o->message);
    if (o->status != KAGE_COMMAND_PASSED && c->step->continue_on_error)
        kage_run_progress(c->run, "%s (continuing)", r->message);
    else if (o->status != KAGE_COMMAND_PASSED)
        kage_steps_fail(c->run, o->class, o->code, c->step->loc, r->message);
    if (o->status != KAGE_COMMAND_PASSED && was == KAGE_PHASE_SERVING)
        kage_checkpoint_on_failure(c);
    kage_steps_ended(c, was);
}

/* One attempt is over: the next one, or the end. */
static void end_attempt(struct kage_command *c, struct outcome o)
{
    bool awaited = c->phase == KAGE_PHASE_RUNNING || c->phase == KAGE_PHASE_STARTING;

    kage_timer_set(c->timer, 0);
    kage_ready_end(c);
    for (int i = 0; i < 2; i++)
        pass_on(c, i, "", 0, true);
    c->alive = false;
    kage_freep(&c->handle);
    note_attempt(c, &o);
    if (o.status != KAGE_COMMAND_PASSED && awaited && c->attempt <= c->step->retries) {
        kage_run_progress(c->run, "%s; trying again (%u of %u)", o.message, c->attempt + 1,
                          c->step->retries + 1);
        free(o.message);
        c->result->signal = 0;
        c->result->out_of_memory = false;
        start_attempt(c);
        return;
    }
    conclude(c, &o);
}

/* ---- judging ---- */

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

static char *exit_text(const struct kage_command *c, const struct kage_msg *msg)
{
    int code = (int)msg->exit.code;
    KAGE_CLEANUP(kage_freep) char *name = called(c);
    KAGE_CLEANUP(kage_freep) char *want = expected_text(c->step);
    const char *when = c->phase == KAGE_PHASE_STARTING  ? " before it was ready"
                       : c->phase == KAGE_PHASE_SERVING ? " before the job ended"
                                                        : "";

    if (msg->exit.out_of_memory)
        return kage_asprintf("%s ran out of memory and was killed%s", name, when);
    if (msg->exit.signal != KAGE_UNSET)
        return kage_asprintf("%s was killed by signal %d (%s)%s", name, (int)msg->exit.signal,
                             strsignal((int)msg->exit.signal), when);
    if (!strcmp(want, "0") || c->phase == KAGE_PHASE_STARTING)
        return kage_asprintf("%s exited with code %d%s", name, code, when);
    return kage_asprintf("%s exited with code %d%s, expected %s", name, code, when, want);
}

static char *late_text(const struct kage_command *c)
{
    KAGE_CLEANUP(kage_freep) char *name = called(c);
    uint64_t limit = c->step->timeout_ms;
    KAGE_CLEANUP(kage_freep) char *text = NULL;

    if (c->phase != KAGE_PHASE_STARTING || (limit && limit <= c->step->ready.timeout_ms)) {
        text = kage_duration_text(limit);
        return kage_asprintf("%s ran longer than its timeout of %s", name, text);
    }
    text = kage_duration_text(c->step->ready.timeout_ms);
    return kage_asprintf("%s was not ready within %s%s%s", name, text,
                         c->probe_why && *c->probe_why ? ": " : "",
                         c->probe_why ? c->probe_why : "");
}

void kage_command_on_exit(struct kage_command *c, const struct kage_msg *msg)
{
    int code = (int)msg->exit.code;
    bool by_signal = msg->exit.signal != KAGE_UNSET;
    struct outcome o = passed;

    note_end(c, msg);
    if (by_signal)
        c->result->signal = (int)msg->exit.signal;
    c->result->out_of_memory = msg->exit.out_of_memory;
    o.code = code;
    if (c->phase == KAGE_PHASE_STOPPING) {
        /* It was told to; how it went is its own affair. */
    } else if (c->late) {
        o.status = KAGE_COMMAND_TIMED_OUT;
        o.class = KAGE_CLASS_TIMEOUT;
        o.message = late_text(c);
    } else if (c->phase == KAGE_PHASE_STARTING || !expected(c->step, code)) {
        o.status = KAGE_COMMAND_FAILED;
        o.class = by_signal ? KAGE_CLASS_SIGNAL : KAGE_CLASS_COMMAND;
        o.message = exit_text(c, msg);
    }
    end_attempt(c, o);
}

/* A command that could not be started: 127 when there is no such program, 126 when it cannot be
 * executed, as shells do. Without an errno it is vmd that failed, and that is no verdict. */
static void on_not_started(struct kage_command *c, const struct kage_msg *error)
{
    KAGE_CLEANUP(kage_freep) char *name = called(c);
    KAGE_CLEANUP(kage_freep)
    char *why = kage_printable(error->error.message, strlen(error->error.message));
    struct outcome o = passed;

    if (error->error.errnum == KAGE_UNSET) {
        kage_run_finish(c->run, KAGE_CLASS_INTERNAL, 0, c->step->loc,
                        kage_asprintf("the guest could not run %s: %s", name, why));
        return;
    }
    o.code = error->error.errnum == ENOENT ? 127 : 126;
    if (c->step->background || !expected(c->step, o.code)) {
        o.status = KAGE_COMMAND_FAILED;
        o.class = KAGE_CLASS_COMMAND;
        o.message = kage_asprintf("%s could not be started: %s", name, why);
    }
    end_attempt(c, o);
}

static void on_spawned(const struct kage_msg *reply, void *user)
{
    struct kage_command *c = user;
    struct kage_msg msg;

    if (c->run->done)
        return;
    if (reply->type == KAGE_MSG_ERROR) {
        on_not_started(c, reply);
        return;
    }
    c->handle = kage_strdup(reply->spawned.handle);
    note_start(c, reply);
    kage_client_expect(c->run->client, c->step->id);
    if (c->step->pty) {
        /* Nobody will type: a program that reads finds the end of file. */
        kage_msg_init(&msg, KAGE_MSG_STDIN_CLOSE);
        msg.input.handle = c->handle;
        kage_client_request_msg(c->run->client, &msg, NULL, NULL);
    }
    if (c->late) {
        kage_command_on_timer(c);
    } else if (c->phase == KAGE_PHASE_STARTING) {
        if (c->step->ready.kind == KAGE_READY_NONE)
            kage_command_is_ready(c);
        else
            kage_ready_begin(c);
    }
}

/* ---- readiness and the end ---- */

void kage_command_is_ready(struct kage_command *c)
{
    uint64_t spent = kage_now_ms() - c->start_ms, limit = c->step->timeout_ms;

    if (c->late)
        return; /* it is being killed for not being ready */
    kage_ready_end(c);
    c->phase = KAGE_PHASE_SERVING;
    kage_timer_set(c->timer, !limit ? 0 : limit > spent ? limit - spent : 1);
    kage_steps_ready(c);
}

static void send_signal(struct kage_command *c, int signo)
{
    struct kage_msg msg;

    kage_msg_init(&msg, KAGE_MSG_KILL);
    msg.kill.handle = c->handle;
    msg.kill.signal = signo;
    kage_client_request_msg(c->run->client, &msg, NULL, NULL);
    kage_timer_set(c->timer, signo == SIGTERM ? TERM_GRACE_MS : KILL_GRACE_MS);
    c->kills++;
}

void kage_command_stop(struct kage_command *c)
{
    c->phase = KAGE_PHASE_STOPPING;
    c->kills = 0;
    send_signal(c, SIGTERM);
}

/* Time is over: TERM, then KILL, then the machine is not trusted to answer any more. */
void kage_command_on_timer(void *user)
{
    struct kage_command *c = user;
    KAGE_CLEANUP(kage_freep) char *name = NULL;

    if (c->run->making) { /* what it is told now would be saved with the machine */
        kage_timer_set(c->timer, SAVING_RETRY_MS);
        return;
    }
    c->late = true;
    kage_timer_set(c->probe_timer, 0);
    if (!c->handle) {
        /* Not even started; the kill follows from on_spawned, if that still comes. */
        kage_timer_set(c->timer, KILL_GRACE_MS);
        if (c->kills++ == 0)
            return;
    }
    if (c->handle && c->kills < 2) {
        send_signal(c, c->kills == 0 ? SIGTERM : SIGKILL);
        return;
    }
    name = called(c);
    if (c->phase != KAGE_PHASE_STOPPING)
        c->result->status = KAGE_COMMAND_TIMED_OUT;
    c->result->duration_ms = kage_now_ms() - c->first_start_ms;
    kage_run_finish(c->run, KAGE_CLASS_TIMEOUT, 0, c->step->loc,
                    kage_asprintf("%s ran out of time and did not end when killed", name));
}

/* ---- life ---- */

static int command_init(struct kage_run *run, const struct kage_plan_step *step, size_t i,
                        struct kage_error *err)
{
    struct kage_command *c = &run->commands[i];

    *c = (struct kage_command){.run = run, .step = step, .result = &run->result->commands[i]};
    if (kage_timer_new(run->loop, kage_command_on_timer, c, &c->timer, err) < 0)
        return -1;
    return kage_timer_new(run->loop, kage_ready_on_timer, c, &c->probe_timer, err);
}

int kage_commands_new(struct kage_run *run, struct kage_error *err)
{
    size_t n = 0;

    run->commands = kage_alloc((run->result->n_commands + 1) * sizeof *run->commands);
    for (size_t i = 0; i < run->plan->n_steps; i++)
        if (run->plan->steps[i].kind == KAGE_STEP_SPAWN &&
            command_init(run, &run->plan->steps[i], n++, err) < 0)
            return -1;
    return 0;
}

void kage_commands_timers_off(struct kage_run *run)
{
    for (size_t i = 0; run->commands && i < run->result->n_commands; i++) {
        struct kage_command *c = &run->commands[i];

        if (c->timer)
            kage_timer_set(c->timer, 0);
        if (c->probe_timer)
            kage_timer_set(c->probe_timer, 0);
    }
}

void kage_commands_free(struct kage_run *run)
{
    for (size_t i = 0; run->commands && i < run->result->n_commands; i++) {
        struct kage_command *c = &run->commands[i];

        kage_timer_free(c->timer);
        kage_timer_free(c->probe_timer);
        free(c->handle);
        free(c->probe_handle);
        free(c->probe_why);
        for (int k = 0; k < 2; k++) {
            kage_mask_stream_done(&c->streams[k]);
            kage_buf_done(&c->said[k]);
        }
    }
    free(run->commands);
    run->commands = NULL;
}
