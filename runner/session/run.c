#include "runner/session/run_state.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/line.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/plan/parts.h"
#include "runner/qemu/qmp.h"
#include "runner/report/output.h"
#include "runner/session/artifacts.h"
#include "runner/session/client.h"
#include "runner/session/secrets.h"

/*
 * Theory of operation. A run is a chain of events on one loop:
 *
 *   QEMU started → hello and ping sent into vmd's port, answered once vmd is there ("ready") →
 *   sessions and mounts → command after command → verdict
 *
 * Anything else that can happen (QEMU ends, the kernel panics, the connection drops, silence, a
 * signal, a timeout) leads to kage_run_finish(), which fixes the verdict, kills the machine and
 * lets the loop go on only until the output that is still queued has been written.
 *
 * A dying machine shows in several places at once: the connection resets, QEMU exits, the console
 * has the panic. The loss of the connection is therefore held back for a moment, so that the
 * better explanation wins.
 */

/* The guest's end of the network of a machine that stays (slirp's default guest address). */
#define GUEST_ADDRESS "10.0.2.15"
#define LOSS_HOLD_MS 300
/* The guest is pinged when nothing came from it for this long, and given up after so many pings in
 * a row without a sign of life. */
#define HEARTBEAT_MS 10000
#define UNANSWERED_MAX 6
#define CONSOLE_LINES 12
#define DRAIN_MS 2000
/* From "vmd is ready" to "the machine is saved"; normally a fraction of a second. */
#define SAVE_LIMIT_MS 20000
/* For QEMU to say which port it has forwarded. */
#define ANSWER_LIMIT_MS 20000
/* A restored machine has little to do until it answers; one that does not is booted instead. */
#define RESTORE_FRACTION 6

/* ---- messages ---- */

static void say(struct kage_run *run, const char *text)
{
    struct kage_buf line = {0};

    kage_buf_addf(&line, "kage: %s\n", text);
    KAGE_CLEANUP(kage_freep)
    char *shown = kage_mask_text(run->options->mask, kage_buf_take(&line));
    if (run->err)
        kage_output_write(run->err, shown, strlen(shown));
}

void kage_run_progress(struct kage_run *run, const char *fmt, ...)
{
    struct kage_buf text = {0};
    va_list ap;

    if (!run->options->progress)
        return;
    va_start(ap, fmt);
    kage_buf_vaddf(&text, fmt, ap);
    va_end(ap);
    say(run, text.data ? text.data : "");
    kage_buf_done(&text);
}

void kage_run_stage(struct kage_run *run, const char *name)
{
    uint64_t now = kage_now_us();

    if (run->options->times && name)
        kage_timeline_add(&run->result->timeline, KAGE_SIDE_HOST, name, run->stage_us, now);
    run->stage_us = now;
}

void kage_run_guest_span(struct kage_run *run, const char *name, int64_t start_us, int64_t end_us)
{
    if (run->options->times && run->client && start_us != KAGE_UNSET && end_us != KAGE_UNSET)
        kage_timeline_add(&run->result->timeline, KAGE_SIDE_GUEST, name,
                          kage_client_host_us(run->client, start_us),
                          kage_client_host_us(run->client, end_us));
}

static char *with_console(const struct kage_run *run, char *message)
{
    KAGE_CLEANUP(kage_freep) char *tail = kage_console_tail(&run->console, CONSOLE_LINES);
    char *both;

    if (!*tail)
        return message;
    tail[strlen(tail) - 1] = '\0';
    both = kage_asprintf("%s\nlast lines of the console:\n%s", message, tail);
    free(message);
    return both;
}

/* ---- the end ---- */

static void stop_machine(struct kage_run *run)
{
    kage_client_free(run->client);
    run->client = NULL;
    kage_line_free(run->line);
    run->line = NULL;
    kage_qmp_free(run->qmp);
    run->qmp = NULL;
    kage_watch_free(run->pid_watch);
    kage_watch_free(run->console_watch);
    run->pid_watch = run->console_watch = NULL;
    kage_qemu_stop(&run->qemu);
}

static void quit_when_written(struct kage_run *run)
{
    if (!kage_output_pending(run->out) && !kage_output_pending(run->err))
        kage_loop_quit(run->loop);
}

static void set_timers_off(struct kage_run *run)
{
    struct kage_timer *timers[] = {run->boot_timer, run->job_timer, run->heartbeat, run->loss_timer,
                                   run->save_timer};

    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++)
        if (timers[i])
            kage_timer_set(timers[i], 0);
    kage_commands_timers_off(run);
}

/* Called by the loop right after the callback that finished the run: the machine must not be
 * taken apart under the feet of one of its own callbacks. */
static void on_finished(void *user)
{
    struct kage_run *run = user;

    stop_machine(run);
    run->vm_gone = true;
    quit_when_written(run);
}

static bool is_failure(enum kage_class class)
{
    return class == KAGE_CLASS_COMMAND || class == KAGE_CLASS_SIGNAL || class == KAGE_CLASS_TIMEOUT;
}

void kage_run_finish(struct kage_run *run, enum kage_class class, int exit_code,
                     struct kage_loc loc, char *message)
{
    struct kage_result *r = run->result;

    if (run->done) {
        free(message);
        return;
    }
    run->done = true;
    if (class != KAGE_CLASS_NONE)
        kage_steps_on_loss(run);
    /* A broken environment outranks a command that failed before it; another failure does not. */
    if (class != KAGE_CLASS_NONE && !(run->job_failed && is_failure(class))) {
        free(r->message);
        r->class = class;
        r->exit_code = class == KAGE_CLASS_INTERRUPTED ? exit_code
                                                       : kage_result_exit_code(class, exit_code, 0);
        r->loc = loc;
        r->message = message;
    } else {
        free(message);
    }
    kage_run_stage(run, NULL);
    set_timers_off(run);
    kage_loop_later(run->loop, &run->finished);
    /* Output that nobody reads must not keep alive a run that was told to end. */
    if (class == KAGE_CLASS_INTERRUPTED || class == KAGE_CLASS_TIMEOUT)
        kage_timer_set(run->drain_timer, DRAIN_MS);
}

static void lose(struct kage_run *run, enum kage_class class, char *message)
{
    if (run->done || run->loss_why) {
        free(message);
        return;
    }
    run->loss_class = class;
    run->loss_why = message;
    kage_timer_set(run->loss_timer, LOSS_HOLD_MS);
}

static struct kage_loc here(const struct kage_run *run)
{
    if (run->command_running)
        return run->plan->steps[run->next_step].loc;
    return (struct kage_loc){0};
}

static char *while_doing(const struct kage_run *run)
{
    const struct kage_plan_step *step;

    if (!run->ready)
        return kage_strdup("while it booted");
    if (run->making)
        return kage_strdup("while a checkpoint was made");
    if (!run->command_running && run->ending)
        return kage_strdup(run->options->on_up ? "while it was up" : "while the job was ended");
    if (!run->command_running)
        return kage_strdup("while the job was set up");
    step = &run->plan->steps[run->next_step];
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(step->name, strlen(step->name));
    return kage_asprintf("while command '%s' ran", name);
}

static void on_loss_timer(void *user)
{
    struct kage_run *run = user;

    kage_run_finish(run, run->loss_class, 0, here(run),
                    with_console(run, KAGE_TAKE(run->loss_why)));
}

/* ---- QEMU and the console ---- */

static ssize_t read_console(struct kage_run *run)
{
    char chunk[16384];
    ssize_t n = recv(run->qemu.console_fd, chunk, sizeof chunk, MSG_DONTWAIT);

    if (n <= 0)
        return n;
    kage_console_add(&run->console, chunk, (size_t)n);
    if (run->options->on_console)
        run->options->on_console(chunk, (size_t)n, run->options->user);
    return n;
}

static void on_qemu_exit(uint32_t events, void *user)
{
    struct kage_run *run = user;
    KAGE_CLEANUP(kage_freep) char *complaint = NULL;
    KAGE_CLEANUP(kage_freep) char *when = while_doing(run);

    kage_watch_set(run->pid_watch, 0);
    if (run->done)
        return;
    while (read_console(run) > 0)
        ;
    complaint = kage_qemu_complaint(&run->qemu);
    if (run->console.panicked) {
        KAGE_CLEANUP(kage_freep)
        char *said = kage_printable(run->console.panic, strlen(run->console.panic));

        kage_run_finish(
            run, KAGE_CLASS_PANIC, 0, here(run),
            with_console(run, kage_asprintf("the guest's kernel panicked %s: %s", when, said)));
    } else if (!run->ready && complaint && !run->console.len && run->how != KAGE_START_RESTORE)
        kage_run_finish(run, KAGE_CLASS_HOST, 0, (struct kage_loc){0},
                        kage_asprintf("QEMU did not start: %s", complaint));
    else
        kage_run_finish(
            run, run->ready ? KAGE_CLASS_AGENT_LOST : KAGE_CLASS_BOOT, 0, here(run),
            with_console(run, kage_asprintf("the virtual machine ended %s%s%s", when,
                                            complaint ? ": " : "", complaint ? complaint : "")));
}

static void on_console(uint32_t events, void *user)
{
    struct kage_run *run = user;
    ssize_t n = read_console(run);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        kage_watch_set(run->console_watch, 0);
}

static void on_qmp_lost(const char *why, void *user)
{
    struct kage_run *run = user;

    lose(run, run->ready ? KAGE_CLASS_AGENT_LOST : KAGE_CLASS_BOOT,
         kage_asprintf("lost control of QEMU: %s", why));
}

static void on_qmp_event(const char *name, const struct cJSON *data, void *user)
{
    struct kage_run *run = user;

    /* What ends the machine shows on the pidfd, with better words. */
    if (run->how == KAGE_START_RESTORE && !strcmp(name, "RESUME") && !run->resumed) {
        kage_run_stage(run, "start QEMU and restore the machine");
        run->resumed = true;
        kage_run_greet(run);
    }
}

static void on_usernet(const struct cJSON *result, const char *error, void *user)
{
    struct kage_run *run = user;
    unsigned port = cJSON_IsString(result) ? kage_qmp_forwarded_port(result->valuestring,
                                                                     GUEST_ADDRESS, KAGE_AGENT_PORT)
                                           : 0;

    if (run->done || run->loss_why)
        return;
    kage_timer_set(run->boot_timer, 0);
    if (!port) {
        kage_run_finish(run, KAGE_CLASS_HOST, 0, (struct kage_loc){0},
                        kage_asprintf("QEMU did not forward a port to the guest: %s",
                                      error ? error : "it lists none"));
        return;
    }
    run->port = (uint16_t)port;
    kage_steps_start(run);
}

/* Others can reach the machine by the port of the host that QEMU was given. */
static void find_way_in(struct kage_run *run)
{
    cJSON *usernet = cJSON_CreateObject();

    kage_timer_set(run->boot_timer, ANSWER_LIMIT_MS);

    cJSON_AddStringToObject(usernet, "command-line", "info usernet");
    kage_qmp_execute(run->qmp, "human-monitor-command", usernet, -1, on_usernet, run);
}

/* ---- vmd ---- */

static void note_ready(struct kage_run *run, const struct kage_msg *hello_ok)
{
    if (!run->options->times)
        return;
    kage_run_stage(run, run->how == KAGE_START_RESTORE ? "greet vmd" : "start QEMU and boot");
    if (run->how == KAGE_START_RESTORE)
        return; /* what follows was in the template's life */
    kage_run_guest_span(run, "kernel", 0, hello_ok->hello_ok.began_us);
    kage_run_guest_span(run, "vmd sets up", hello_ok->hello_ok.began_us,
                        hello_ok->hello_ok.listening_us);
}

static void on_client_ready(const struct kage_msg *hello_ok, void *user)
{
    struct kage_run *run = user;

    if (run->ready && !run->done && kage_checkpoint_is_back(run)) {
        kage_timer_set(run->boot_timer, 0);
        kage_timer_set(run->heartbeat, HEARTBEAT_MS);
        if (kage_output_pending(run->out) || kage_output_pending(run->err))
            kage_client_pause(run->client, true);
        kage_checkpoint_return(run);
        return;
    }
    if (run->ready || run->done)
        return;
    run->ready = true;
    note_ready(run, hello_ok);
    run->result->boot_ms = kage_now_ms() - run->boot_start_ms;
    kage_timer_set(run->boot_timer, 0);
    kage_timer_set(run->heartbeat, HEARTBEAT_MS);
    if (run->how == KAGE_START_SAVE) {
        kage_timer_set(run->boot_timer, SAVE_LIMIT_MS);
        kage_snapshot_save(run);
        return;
    }
    kage_run_progress(run, "up after %" PRIu64 ".%02" PRIu64 " s (%s)", run->result->boot_ms / 1000,
                      run->result->boot_ms / 10 % 100, kage_accel_name(run->plan->accel));
    if (run->options->on_up)
        find_way_in(run);
    else
        kage_steps_start(run);
}

static void on_client_output(uint32_t id, bool is_stderr, const uint8_t *data, size_t len,
                             void *user)
{
    struct kage_run *run = user;

    kage_steps_on_output(run, id, is_stderr, data, len);
}

static void on_client_exit(uint32_t id, const struct kage_msg *exit, void *user)
{
    struct kage_run *run = user;

    if (!run->done)
        kage_steps_on_exit(run, id, exit);
}

static void on_client_lost(enum kage_class class, const char *why, void *user)
{
    struct kage_run *run = user;
    KAGE_CLEANUP(kage_freep) char *when = NULL;

    when = while_doing(run);
    lose(run, class == KAGE_CLASS_AGENT_LOST && !run->ready ? KAGE_CLASS_BOOT : class,
         class == KAGE_CLASS_INTERNAL
             ? kage_strdup(why)
             : kage_asprintf("lost the connection to vmd in the guest %s: %s", when, why));
}

static const struct kage_client_handler client_handler = {
    .on_ready = on_client_ready,
    .on_output = on_client_output,
    .on_exit = on_client_exit,
    .on_lost = on_client_lost,
};

void kage_run_greet(struct kage_run *run)
{
    struct kage_error err = KAGE_ERROR_INIT;
    unsigned flags = (run->how == KAGE_START_RESTORE ? KAGE_CLIENT_RESUME : 0) |
                     (run->options->times ? KAGE_CLIENT_TIMES : 0);

    if (run->done)
        return;
    kage_client_free(run->client);
    run->client = NULL;
    if (kage_client_on_line(run->loop, kage_line_conn(run->line), flags, &client_handler, run,
                            &run->client, &err) < 0)
        kage_run_finish(run, err.class, 0, (struct kage_loc){0}, KAGE_TAKE(err.message));
}

/* Nobody greets vmd yet, and it has nothing to say by itself. */
static void on_early_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
}

static void on_early_close(struct kage_conn *conn, const char *reason, void *user)
{
    on_client_lost(KAGE_CLASS_AGENT_LOST, reason, user);
}

static const struct kage_conn_handler early_handler = {.on_message = on_early_message,
                                                       .on_close = on_early_close};

/* ---- timers and signals ---- */

static void on_boot_timer(void *user)
{
    struct kage_run *run = user;
    KAGE_CLEANUP(kage_freep) char *limit = kage_duration_text(run->plan->boot_timeout_ms);

    if (run->ready) {
        kage_run_finish(run, KAGE_CLASS_INTERNAL, 0, (struct kage_loc){0},
                        kage_strdup(run->how == KAGE_START_SAVE || run->making
                                        ? "saving the machine took too long"
                                        : "QEMU does not tell the machine's port"));
        return;
    }
    kage_run_finish(
        run, KAGE_CLASS_BOOT, 0, (struct kage_loc){0},
        with_console(run, kage_asprintf("the virtual machine was not ready after %s (%s)", limit,
                                        kage_accel_name(run->plan->accel))));
}

static void on_drain_timer(void *user)
{
    struct kage_run *run = user;

    kage_loop_quit(run->loop);
}

static void on_job_timer(void *user)
{
    struct kage_run *run = user;
    KAGE_CLEANUP(kage_freep) char *limit = kage_duration_text(run->plan->timeout_ms);
    KAGE_CLEANUP(kage_freep) char *when = while_doing(run);

    if (run->command_running) {
        struct kage_command_result *c = &run->result->commands[run->command];

        c->status = KAGE_COMMAND_TIMED_OUT;
        c->duration_ms = kage_now_ms() - run->commands[run->command].first_start_ms;
        free(c->message);
        c->message = kage_strdup("the job ran out of time");
    }
    kage_run_finish(run, KAGE_CLASS_TIMEOUT, 0, here(run),
                    kage_asprintf("the job ran longer than its timeout of %s, %s", limit, when));
}

static void on_heartbeat(void *user)
{
    struct kage_run *run = user;

    if (!run->client)
        return;
    kage_timer_set(run->heartbeat, HEARTBEAT_MS);
    if (kage_client_unanswered(run->client) >= UNANSWERED_MAX) {
        KAGE_CLEANUP(kage_freep) char *when = while_doing(run);

        lose(run, KAGE_CLASS_AGENT_LOST,
             kage_asprintf("vmd in the guest stopped answering %s", when));
        return;
    }
    if (kage_now_ms() - kage_client_last_heard(run->client) >= HEARTBEAT_MS)
        kage_client_ping(run->client);
}

static void on_signal(int signo, void *user)
{
    struct kage_run *run = user;

    if (run->done) {
        struct kage_result *r = run->result;

        /* What is still to be written is given up, so this is no pass any more; nor is a machine
         * that was only saved a reason to go on. */
        if (r->class == KAGE_CLASS_NONE) {
            r->class = KAGE_CLASS_INTERRUPTED;
            r->exit_code = 128 + signo;
            r->message = kage_asprintf("interrupted by SIG%s", sigabbrev_np(signo));
            run->saved = false;
        }
        kage_loop_quit(run->loop);
        return;
    }
    kage_run_finish(run, KAGE_CLASS_INTERRUPTED, 128 + signo, here(run),
                    kage_asprintf("interrupted by SIG%s", sigabbrev_np(signo)));
}

/* ---- standard streams ---- */

static void on_output_full(void *user)
{
    struct kage_run *run = user;

    if (run->client)
        kage_client_pause(run->client, true);
}

void kage_run_unpause(struct kage_run *run)
{
    if (run->client && !kage_output_pending(run->out) && !kage_output_pending(run->err) &&
        !kage_artifacts_full(run))
        kage_client_pause(run->client, false);
}

static void on_output_written(void *user)
{
    struct kage_run *run = user;

    kage_run_unpause(run);
    if (run->vm_gone)
        quit_when_written(run);
}

static void on_output_broken(int errnum, void *user)
{
    struct kage_run *run = user;

    kage_run_finish(run, KAGE_CLASS_HOST, 0, (struct kage_loc){0},
                    kage_asprintf("cannot write the commands' output: %s", strerror(errnum)));
    if (run->vm_gone)
        kage_loop_quit(run->loop);
}

static const struct kage_output_handler output_handler = {
    .on_full = on_output_full, .on_empty = on_output_written, .on_broken = on_output_broken};

/* ---- set-up ---- */

static int set_up_loop(struct kage_run *run, struct kage_error *err)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t signals;
    struct {
        struct kage_timer **timer;
        kage_timer_fn fn;
    } timers[] = {
        {&run->boot_timer, on_boot_timer}, {&run->job_timer, on_job_timer},
        {&run->heartbeat, on_heartbeat},   {&run->save_timer, kage_snapshot_on_timer},
        {&run->loss_timer, on_loss_timer}, {&run->drain_timer, on_drain_timer},
    };

    kage_loop_unignored(ends, sizeof ends / sizeof *ends, &signals);
    signal(SIGPIPE, SIG_IGN);
    if (kage_loop_new(&run->loop, err) < 0 ||
        kage_loop_signals(run->loop, &signals, on_signal, run, err) < 0 ||
        kage_output_new(run->loop, STDOUT_FILENO, &output_handler, run, &run->out, err) < 0 ||
        kage_output_new(run->loop, STDERR_FILENO, &output_handler, run, &run->err, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++)
        if (kage_timer_new(run->loop, timers[i].fn, run, timers[i].timer, err) < 0)
            return -1;
    return kage_commands_new(run, err);
}

static int start_machine(struct kage_run *run, struct kage_error *err)
{
    static const struct kage_qmp_handler qmp_handler = {.on_lost = on_qmp_lost,
                                                        .on_event = on_qmp_event};
    struct kage_qemu_memory memory = {.state_fd = -1, .disk_fd = -1};

    if ((run->how == KAGE_START_RESTORE && kage_checkpoint_prepare(run, err) < 0) ||
        (run->how == KAGE_START_SAVE && kage_snapshot_prepare(run, err) < 0))
        return -1;
    if (run->template)
        memory.ram_fd = run->template->ram_fd;
    if (run->how == KAGE_START_RESTORE)
        memory.state_fd = run->template->state_fd;
    if (run->ram_fd >= 0) {
        memory.ram_fd = run->ram_fd;
        memory.shared = true;
    }
    memory.disk_fd = run->disk_fd;
    if (run->how == KAGE_START_RESTORE)
        kage_run_progress(run, "starting %s from %s", run->plan->name,
                          run->origin->from ? "a checkpoint" : "its template");
    else if (run->plan->accel_note)
        kage_run_progress(run, "booting %s on %s (%s)", run->plan->name,
                          kage_accel_name(run->plan->accel), run->plan->accel_note);
    else
        kage_run_progress(run, "booting %s on %s", run->plan->name,
                          kage_accel_name(run->plan->accel));
    run->boot_start_ms = kage_now_ms();
    kage_run_stage(run, NULL);
    if (kage_qemu_start(run->plan, run->files, run->template ? &memory : NULL, &run->qemu, err) <
            0 ||
        kage_qmp_new(run->loop, kage_take_fd(&run->qemu.qmp_fd), &qmp_handler, run, &run->qmp,
                     err) < 0 ||
        kage_line_new(run->loop, kage_take_fd(&run->qemu.control_fd),
                      KAGE_FRAME_HEADER + KAGE_FRAME_MAX, &early_handler, run, &run->line,
                      err) < 0 ||
        kage_watch_new(run->loop, run->qemu.console_fd, EPOLLIN, on_console, run,
                       &run->console_watch, err) < 0 ||
        kage_watch_new(run->loop, run->qemu.pid_fd, EPOLLIN, on_qemu_exit, run, &run->pid_watch,
                       err) < 0)
        return -1;
    run->result->jailed = run->qemu.jailed;
    if (run->how == KAGE_START_RESTORE)
        kage_snapshot_restore(run);
    else
        kage_run_greet(run);
    kage_timer_set(run->boot_timer, run->how == KAGE_START_RESTORE
                                        ? run->plan->boot_timeout_ms / RESTORE_FRACTION
                                        : run->plan->boot_timeout_ms);
    if (!run->options->on_up)
        kage_timer_set(run->job_timer, run->plan->timeout_ms);
    return 0;
}

static void tear_down(struct kage_run *run)
{
    struct kage_timer *timers[] = {run->boot_timer, run->job_timer, run->heartbeat, run->loss_timer,
                                   run->save_timer};

    stop_machine(run);
    kage_checkpoint_free(run);
    kage_commands_free(run);
    kage_artifacts_free(run);
    kage_output_free(run->out);
    kage_output_free(run->err);
    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++)
        kage_timer_free(timers[i]);
    kage_timer_free(run->drain_timer);
    kage_loop_free(run->loop);
    free(run->loss_why);
}

bool kage_run_machine(const struct kage_plan *plan, const struct kage_image_files *files,
                      const struct kage_run_options *options, const struct kage_origin *origin,
                      struct kage_result *result)
{
    struct kage_run run = {.plan = plan,
                           .files = files,
                           .options = options,
                           .origin = origin,
                           .how = origin->how,
                           .template = origin->template,
                           .ram_fd = -1,
                           .disk_fd = -1,
                           .result = result,
                           .qemu = KAGE_QEMU_INIT};
    struct kage_error err = KAGE_ERROR_INIT;

    run.finished = (struct kage_later){.fn = on_finished, .user = &run};
    kage_result_begin(plan, result);
    if (set_up_loop(&run, &err) < 0 || start_machine(&run, &err) < 0 ||
        kage_loop_run(run.loop, &err) < 0) {
        free(result->message);
        result->class = err.class;
        result->exit_code = kage_result_exit_code(err.class, 0, 0);
        result->message = kage_strdup(err.message);
        result->loc = err.loc;
    }
    kage_error_done(&err);
    tear_down(&run);
    kage_run_stage(&run, "end the machine");
    result->duration_ms = kage_now_ms() - options->started_ms;
    return origin->how == KAGE_START_SAVE ? run.saved : run.ready;
}
