#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/qemu/qmp.h"
#include "runner/session/client.h"
#include "runner/session/run_state.h"

/*
 * Theory of operation. A machine is saved once vmd is ready and has run one command, so that the
 * code a first command needs has been read, linked and laid out in memory already. Its connection
 * is closed first, and it gets a moment to take that in: a template must not hold half a
 * conversation.
 *
 *   x-ignore-shared → getfd → migrate fd: → completed → end of this QEMU
 *
 * Migration stops the machine by itself; one that was stopped before would be restored stopped.
 *
 * With x-ignore-shared QEMU leaves out memory that is a shared file, which is then the template's
 * `ram` as it stands; what is written to `state` is a few hundred kilobytes of devices. A restored
 * QEMU maps `ram` privately and reads `state` the same way. The descriptor is passed over QMP:
 * QEMU's seccomp filter and the jail forbid both starting a program and opening the file.
 */
#define QUIET_MS 60 /* for vmd to see that its client has gone */
#define POLL_MS 2
#define FD_NAME "kage-state"

static void give_up(struct kage_run *run, const char *doing, const char *error)
{
    kage_run_finish(run, KAGE_CLASS_INTERNAL, 0, (struct kage_loc){0},
                    kage_asprintf("%s: %s", doing, error));
}

static void on_done(const struct cJSON *result, const char *error, void *user)
{
    if (error)
        give_up(user, "QEMU refused to save the machine", error);
}

static void ignore_shared_memory(struct kage_run *run, kage_qmp_fn fn)
{
    cJSON *arguments = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(arguments, "capabilities");
    cJSON *capability = cJSON_CreateObject();

    cJSON_AddStringToObject(capability, "capability", "x-ignore-shared");
    cJSON_AddTrueToObject(capability, "state");
    cJSON_AddItemToArray(list, capability);
    kage_qmp_execute(run->qmp, "migrate-set-capabilities", arguments, -1, fn, run);
}

static void pass_state(struct kage_run *run, const char *command, int fd, kage_qmp_fn fn)
{
    cJSON *name = cJSON_CreateObject(), *uri = cJSON_CreateObject();

    /* The descriptor that wrote the state may be the one that now reads it. */
    lseek(fd, 0, SEEK_SET);
    cJSON_AddStringToObject(name, "fdname", FD_NAME);
    cJSON_AddStringToObject(uri, "uri", "fd:" FD_NAME);
    kage_qmp_execute(run->qmp, "getfd", name, fd, fn, run);
    kage_qmp_execute(run->qmp, command, uri, -1, fn, run);
}

void kage_snapshot_write(struct kage_run *run, int state_fd, kage_qmp_fn fn)
{
    ignore_shared_memory(run, fn);
    pass_state(run, "migrate", state_fd, fn);
}

/* ---- the console ---- */

/* A restored machine does not boot, so what its console said belongs to the template. */
void kage_snapshot_keep_console(const struct kage_run *run, const char *folder)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/console", folder);
    KAGE_CLEANUP(kage_closep)
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    const struct kage_console *c = &run->console;
    size_t first = c->len < KAGE_CONSOLE_KEEP - c->start ? c->len : KAGE_CONSOLE_KEEP - c->start;

    /* Without it `kage logs` is shorter, nothing else. */
    if (fd >= 0 && write(fd, c->ring + c->start, first) == (ssize_t)first && c->len > first &&
        write(fd, c->ring, c->len - first) < 0)
        return;
}

static void recall_console(struct kage_run *run)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/console", run->template->folder);
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    char text[KAGE_CONSOLE_KEEP];
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);

    if (n <= 0)
        return;
    kage_console_add(&run->console, text, (size_t)n);
    run->console.ready = false; /* that was another machine's word */
    if (run->options->on_console)
        run->options->on_console(text, (size_t)n, run->options->user);
}

/* ---- saving ---- */

static void on_spawned(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;

    if (reply->type == KAGE_MSG_ERROR)
        kage_snapshot_on_exit(run); /* it is saved all the same */
    else
        kage_client_expect(run->client, (uint32_t)reply->id);
}

void kage_snapshot_save(struct kage_run *run)
{
    kage_client_request(run->client, KAGE_MSG_SPAWN,
                        "{\"id\":1,\"command\":\"true\",\"uid\":0,\"gid\":0,\"no_stdin\":true,"
                        "\"builtin\":true}",
                        on_spawned, run);
}

/* Without it the machine is saved all the same, and its first command takes longer. */
static void on_prepared(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;

    kage_timer_set(run->save_timer, 1);
}

void kage_snapshot_on_exit(struct kage_run *run)
{
    kage_client_request(run->client, KAGE_MSG_PREPARE, "{}", on_prepared, run);
}

static void on_status(const struct cJSON *result, const char *error, void *user)
{
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(result, "status");
    struct kage_run *run = user;

    if (run->done)
        return;
    if (cJSON_IsString(status) && !strcmp(status->valuestring, "completed")) {
        run->saved = true;
        kage_run_stage(run, "save the machine");
        kage_snapshot_keep_console(run, run->template->folder);
        kage_run_finish(run, KAGE_CLASS_NONE, 0, (struct kage_loc){0}, NULL);
    } else if (!cJSON_IsString(status) || !strcmp(status->valuestring, "failed")) {
        const cJSON *why = cJSON_GetObjectItemCaseSensitive(result, "error-desc");

        give_up(run, "QEMU could not save the machine",
                cJSON_IsString(why) ? why->valuestring
                : error             ? error
                                    : "no reason given");
    } else {
        kage_timer_set(run->save_timer, POLL_MS);
    }
}

void kage_snapshot_on_timer(void *user)
{
    struct kage_run *run = user;

    if (run->how != KAGE_START_SAVE) {
        kage_checkpoint_on_timer(run);
    } else if (run->client) {
        kage_client_free(run->client);
        run->client = NULL;
        kage_timer_set(run->save_timer, QUIET_MS);
    } else if (!run->saving) {
        run->saving = true;
        kage_snapshot_write(run, run->template->state_fd, on_done);
        kage_timer_set(run->save_timer, POLL_MS);
    } else {
        kage_qmp_execute(run->qmp, "query-migrate", NULL, -1, on_status, run);
    }
}

/* ---- restoring ---- */

void kage_snapshot_restore(struct kage_run *run)
{
    recall_console(run);
    ignore_shared_memory(run, on_done);
    pass_state(run, "migrate-incoming", run->template->state_fd, on_done);
}
