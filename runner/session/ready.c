#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/session/client.h"
#include "runner/session/command.h"
#include "runner/session/run_state.h"
#include "runner/session/secrets.h"

/* Between the answer to one probe and the next one. Asking for a port costs the guest next to
 * nothing; a program is what its user chose. */
#define PROBE_EVERY_MS 50
#define PROGRAM_EVERY_MS 250

static uint32_t program_id(const struct kage_command *c)
{
    return (uint32_t)c->run->result->n_commands + c->step->id;
}

/* Whether an answer is about the attempt that is being waited for. */
static bool is_awaited(const struct kage_command *c)
{
    return c->phase == KAGE_PHASE_STARTING && c->probe_of == c->attempt && !c->run->done;
}

static void again(struct kage_command *c, char *why)
{
    free(c->probe_why);
    c->probe_why = why;
    kage_timer_set(c->probe_timer,
                   c->step->ready.kind == KAGE_READY_EXEC ? PROGRAM_EVERY_MS : PROBE_EVERY_MS);
}

/* The end of a probe, whichever kind. `why` is NULL when the answer was yes. */
static void answered(struct kage_command *c, char *why)
{
    bool awaited = is_awaited(c);

    c->probing = false;
    kage_freep(&c->probe_handle);
    if (awaited && !why) {
        kage_command_is_ready(c);
        return;
    }
    if (c->phase == KAGE_PHASE_STARTING && !c->run->done)
        again(c, why ? why : kage_strdup(""));
    else
        free(why);
}

static void on_probed(const struct kage_msg *reply, void *user)
{
    struct kage_command *c = user;

    if (reply->type != KAGE_MSG_ERROR)
        answered(c, NULL);
    else if (reply->error.errnum != KAGE_UNSET)
        answered(c, kage_printable(reply->error.message, strlen(reply->error.message)));
    else if (is_awaited(c)) {
        KAGE_CLEANUP(kage_freep)
        char *why = kage_printable(reply->error.message, strlen(reply->error.message));

        kage_run_finish(c->run, KAGE_CLASS_INTERNAL, 0, c->step->ready.loc,
                        kage_asprintf("the guest cannot tell what is ready: %s", why));
    }
}

static void kill_program(struct kage_command *c)
{
    struct kage_msg msg;

    if (!c->probe_handle || !c->run->client)
        return;
    kage_msg_init(&msg, KAGE_MSG_KILL);
    msg.kill.handle = c->probe_handle;
    msg.kill.signal = SIGKILL;
    kage_client_request_msg(c->run->client, &msg, NULL, NULL);
}

static void on_program(const struct kage_msg *reply, void *user)
{
    struct kage_command *c = user;

    if (reply->type == KAGE_MSG_ERROR) {
        answered(c, kage_printable(reply->error.message, strlen(reply->error.message)));
        return;
    }
    c->probe_handle = kage_strdup(reply->spawned.handle);
    kage_client_expect(c->run->client, program_id(c));
    if (!is_awaited(c))
        kill_program(c);
}

void kage_ready_on_exit(struct kage_command *c, const struct kage_msg *msg)
{
    answered(c, msg->exit.code
                    ? kage_asprintf("its program exited with code %d", (int)msg->exit.code)
                    : NULL);
}

static void probe(struct kage_command *c)
{
    struct kage_run *run = c->run;
    const struct kage_plan_ready *ready = &c->step->ready;

    if (c->probing || run->done)
        return; /* its answer asks again */
    c->probing = true;
    c->probe_of = c->attempt;
    if (ready->kind == KAGE_READY_EXEC) {
        KAGE_CLEANUP(kage_freep)
        char *payload =
            kage_secrets_fill(run->options->secrets, run->plan, c->step, ready->payload);

        kage_client_request(run->client, KAGE_MSG_SPAWN, payload, on_program, c);
    } else {
        kage_client_request(run->client, KAGE_MSG_PROBE, ready->payload, on_probed, c);
    }
}

void kage_ready_on_timer(void *user)
{
    probe(user);
}

void kage_ready_begin(struct kage_command *c)
{
    switch (c->step->ready.kind) {
    case KAGE_READY_TCP:
    case KAGE_READY_EXEC:
    case KAGE_READY_FILE:
        probe(c);
        break;
    default:
        break; /* the output tells, or nothing is waited for */
    }
}

void kage_ready_end(struct kage_command *c)
{
    kage_timer_set(c->probe_timer, 0);
    kill_program(c);
    for (int i = 0; i < 2; i++)
        kage_buf_done(&c->said[i]);
}

void kage_ready_on_output(struct kage_command *c, bool is_stderr, const uint8_t *data, size_t len)
{
    const char *text = c->step->ready.text;
    struct kage_buf *said = &c->said[is_stderr];
    size_t n;

    if (c->step->ready.kind != KAGE_READY_LOG)
        return;
    n = strlen(text);
    kage_buf_add(said, data, len);
    if (memmem(said->data, said->len, text, n))
        kage_command_is_ready(c);
    else if (said->len >= n)
        kage_buf_consume(said, said->len - (n - 1));
}
