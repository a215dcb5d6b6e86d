#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/qemu/qmp.h"
#include "runner/session/client.h"
#include "runner/session/run_state.h"
#include "runner/template/sparse.h"

/*
 * Theory of operation. A machine is saved once vmd is ready and has made sandboxes ahead, which is
 * most of what a first command needs. It gets a moment to come to rest first: what it still had to
 * do, every machine restored from it would do again.
 *
 *   x-ignore-shared → getfd → migrate fd: → completed → copy the memory → end of this QEMU
 *
 * Migration stops the machine by itself; one that was stopped before would be restored stopped.
 *
 * With x-ignore-shared QEMU leaves out memory that is a shared file; what is written to `state` is
 * a few hundred kilobytes of devices. While the machine boots that file is in memory: on a disk's
 * file system, booting took 0.3 s more than the copy does. The copy leaves out pages of zeros. A
 * restored QEMU maps `ram` privately and reads `state` the same way. The descriptor is inherited,
 * or passed over QMP: QEMU's seccomp filter and the jail forbid both starting a program and opening
 * the file.
 */
#define QUIET_MS 60 /* for the guest to be done with what it was asked last */
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

void kage_snapshot_write(struct kage_run *run, int state_fd, kage_qmp_fn fn)
{
    cJSON *name = cJSON_CreateObject(), *uri = cJSON_CreateObject();

    ignore_shared_memory(run, fn);
    cJSON_AddStringToObject(name, "fdname", FD_NAME);
    cJSON_AddStringToObject(uri, "uri", "fd:" FD_NAME);
    kage_qmp_execute(run->qmp, "getfd", name, state_fd, fn, run);
    kage_qmp_execute(run->qmp, "migrate", uri, -1, fn, run);
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
    if (run->options->on_console)
        run->options->on_console(text, (size_t)n, run->options->user);
}

/* ---- saving ---- */

int kage_snapshot_prepare(struct kage_run *run, struct kage_error *err)
{
    run->ram_fd = memfd_create("kage-ram", MFD_CLOEXEC);
    if (run->ram_fd < 0 || ftruncate(run->ram_fd, (off_t)run->plan->memory) < 0)
        return kage_error_errno(err, KAGE_CLASS_INTERNAL, errno, "cannot make the guest's memory");
    return 0;
}

/* Without it the machine is saved all the same, and its first command takes longer. */
static void on_prepared(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;

    if (!run->done)
        kage_timer_set(run->save_timer, 1);
}

void kage_snapshot_save(struct kage_run *run)
{
    kage_client_request(run->client, KAGE_MSG_PREPARE, KAGE_PREPARE, on_prepared, run);
}

static void on_status(const struct cJSON *result, const char *error, void *user)
{
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(result, "status");
    struct kage_run *run = user;
    off_t at = 0;

    if (run->done)
        return;
    if (cJSON_IsString(status) && !strcmp(status->valuestring, "completed")) {
        if (kage_sparse_copy(run->ram_fd, run->template->ram_fd, (off_t)run->plan->memory, &at,
                             UINT64_MAX) < 0) {
            give_up(run, "cannot copy the machine's memory", strerror(errno));
            return;
        }
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

    if (run->done)
        return;
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

/* QEMU reads a command one character in each turn of its loop, so there are few of them: it has the
 * descriptor from the start. */
void kage_snapshot_restore(struct kage_run *run)
{
    KAGE_CLEANUP(kage_freep) char *place = kage_asprintf("fd:%d", run->template->state_fd);
    cJSON *uri = cJSON_CreateObject();

    recall_console(run);
    lseek(run->template->state_fd, 0, SEEK_SET); /* who wrote it may be who now reads it */
    ignore_shared_memory(run, on_done);
    cJSON_AddStringToObject(uri, "uri", place);
    kage_qmp_execute(run->qmp, "migrate-incoming", uri, -1, on_done, run);
}
