#include "runner/session/exec_state.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/session/client.h"
#include "runner/session/feed.h"

/* ---- standard input ---- */

static void on_input(const void *data, size_t len, void *user)
{
    struct kage_exec_state *x = user;

    x->credit -= len;
    if (x->client)
        kage_client_stdin(x->client, KAGE_EXEC_PROCESS, data, len);
}

static void on_input_end(int errnum, void *user)
{
    struct kage_exec_state *x = user;
    struct kage_msg m;

    if (x->done)
        return;
    if (errnum) {
        kage_exec_give_up(x, KAGE_EXEC_NO_VERDICT,
                          kage_asprintf("cannot read standard input: %s", strerror(errnum)));
        return;
    }
    kage_msg_init(&m, KAGE_MSG_STDIN_CLOSE);
    m.input.handle = x->handle;
    kage_client_request_msg(x->client, &m, NULL, NULL);
}

static const struct kage_feed_handler feed_handler = {.on_data = on_input, .on_end = on_input_end};

void kage_exec_on_window(const char *handle, uint64_t bytes, void *user)
{
    struct kage_exec_state *x = user;
    uint64_t taken = x->window - x->credit;

    if (!x->feed || !x->handle || !handle || strcmp(handle, x->handle) != 0)
        return;
    if (bytes > taken) /* never more than the window, whatever the guest says */
        bytes = taken;
    x->credit += bytes;
    kage_feed_allow(x->feed, bytes);
}

void kage_exec_start_input(struct kage_exec_state *x)
{
    struct kage_error err = KAGE_ERROR_INIT;

    if (x->what->in < 0)
        return;
    if (kage_feed_new(x->loop, x->what->in, &feed_handler, x, &x->feed, &err) < 0) {
        kage_exec_give_up(x, KAGE_EXEC_NO_VERDICT, KAGE_TAKE(err.message));
        return;
    }
    x->credit = x->window;
    kage_feed_allow(x->feed, x->window);
}

/* ---- standard output and error ---- */

static void pause_or_not(struct kage_exec_state *x)
{
    if (x->client)
        kage_client_pause(x->client, x->out_is_full || x->err_is_full);
}

void kage_exec_on_output(uint32_t id, bool is_stderr, const uint8_t *data, size_t len, void *user)
{
    struct kage_exec_state *x = user;
    uint64_t max = x->what->out_max;

    x->reacted = true;
    if (x->done)
        return;
    if (is_stderr && x->what->err_text) {
        size_t room = KAGE_EXEC_TEXT_MAX - x->what->err_text->len;

        kage_buf_add(x->what->err_text, data, len < room ? len : room);
    } else if (is_stderr) {
        if (x->err)
            kage_output_write(x->err, data, len);
    } else if (x->out && !x->out_broken) {
        if (max && len > max - x->out_bytes) {
            kage_exec_give_up(
                x, KAGE_EXEC_NO_VERDICT,
                kage_asprintf("more than %llu bytes came from the guest", (unsigned long long)max));
            return;
        }
        x->out_bytes += len;
        kage_output_write(x->out, data, len);
    }
}

static void on_out_full(void *user)
{
    struct kage_exec_state *x = user;

    x->out_is_full = true;
    pause_or_not(x);
}

static void on_err_full(void *user)
{
    struct kage_exec_state *x = user;

    x->err_is_full = true;
    pause_or_not(x);
}

static void on_written(struct kage_exec_state *x)
{
    pause_or_not(x);
    if (x->done && !x->client && kage_exec_is_written(x))
        kage_loop_quit(x->loop);
}

static void on_out_empty(void *user)
{
    struct kage_exec_state *x = user;

    x->out_is_full = false;
    on_written(x);
}

static void on_err_empty(void *user)
{
    struct kage_exec_state *x = user;

    x->err_is_full = false;
    on_written(x);
}

/* A reader that is gone means to the command what it means in a local pipeline. */
static void on_out_broken(int errnum, void *user)
{
    struct kage_exec_state *x = user;

    x->out_broken = true;
    on_out_empty(x);
    if (x->done && errnum == EPIPE)
        return;
    if (errnum != EPIPE) {
        char *why = kage_asprintf("cannot write standard output: %s", strerror(errnum));

        if (x->done) { /* the command has ended, and not all of its output has arrived */
            free(x->end->message);
            x->end->code = KAGE_EXEC_NO_VERDICT;
            x->end->message = why;
        } else {
            kage_exec_give_up(x, KAGE_EXEC_NO_VERDICT, why);
        }
        return;
    }
    kage_exec_signal(x, SIGPIPE);
    kage_exec_leave_later(x, 128 + SIGPIPE, KAGE_EXEC_HANGUP_MS);
}

static void on_err_broken(int errnum, void *user)
{
    on_err_empty(user);
}

const struct kage_output_handler kage_exec_out_handler = {
    .on_full = on_out_full, .on_empty = on_out_empty, .on_broken = on_out_broken};
const struct kage_output_handler kage_exec_err_handler = {
    .on_full = on_err_full, .on_empty = on_err_empty, .on_broken = on_err_broken};
