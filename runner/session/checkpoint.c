#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/qemu/qmp.h"
#include "runner/qemu/scratch.h"
#include "runner/session/client.h"
#include "runner/session/run_state.h"
#include "runner/template/sparse.h"

/*
 * Theory of operation. A run that may have to make a checkpoint starts from a copy of the
 * template's memory that only it has, and that QEMU can save from. After the command:
 *
 *   unmount the shares → park → leave vmd alone → save the devices → copy memory and disk → keep
 *   them under the key → let the same machine go on → hello, resume, adopt, mount the shares
 *
 * The machine stands still from the third step to the seventh. Whatever goes wrong on the way, the
 * run goes on without the checkpoint: it has lost nothing. A later run restores the copy and comes
 * in at the last step; both do from there on exactly the same, so the machine that was saved gets
 * fresh random numbers, too.
 *
 * QEMU refuses to save a machine that has a 9p share mounted. A process that has something open in
 * one keeps it mounted, and there is no checkpoint then.
 */
#define QUIET_MS 60 /* for the guest to be done with what it was asked last */
#define POLL_MS 2
#define COPY_STEP (UINT64_C(64) << 20)
/* For each of: saving the devices, a step of copying, going on. Normally a fraction of a second. */
#define LIMIT_MS 60000

enum making_phase {
    UNMOUNTING,
    PARKING,
    QUIET,
    SAVING,
    COPYING_RAM,
    COPYING_DISK,
    BACK,      /* goes on, and is to be greeted again */
    RETURNING, /* vmd has answered */
};

struct kage_making {
    enum making_phase phase;
    size_t index, step; /* in the run's checkpoints, in the plan's steps */
    struct kage_template place;
    bool migrated; /* asked for */
    size_t due;
    bool *unmounted; /* by step of the plan */
    char *trouble;   /* why there will be no checkpoint */
    off_t at;
    uint64_t started_ms;
};

/* ---- the end of making one ---- */

static void forget(struct kage_run *run)
{
    struct kage_making *m = run->making;

    run->making = NULL;
    kage_template_done(&m->place);
    free(m->unmounted);
    free(m->trouble);
    free(m);
}

/* Takes ownership of why. The first reason stays. */
static void note_trouble(struct kage_making *m, char *why)
{
    if (m->trouble)
        free(why);
    else
        m->trouble = why;
}

void kage_checkpoint_conclude(struct kage_run *run)
{
    struct kage_making *m = run->making;
    KAGE_CLEANUP(kage_freep)
    char *name =
        kage_printable(run->plan->steps[m->step].name, strlen(run->plan->steps[m->step].name));
    uint64_t ms = kage_now_ms() - m->started_ms;

    if (m->trouble)
        kage_run_progress(run, "no checkpoint after '%s': %s", name, m->trouble);
    else
        kage_run_progress(run, "checkpoint after '%s' made in %" PRIu64 ".%02" PRIu64 " s", name,
                          ms / 1000, ms / 10 % 100);
    forget(run);
}

void kage_checkpoint_returning(struct kage_run *run)
{
    run->making->phase = RETURNING;
}

bool kage_checkpoint_is_back(const struct kage_run *run)
{
    return run->making && run->making->phase == BACK;
}

/* ---- letting the machine go on ---- */

static void on_continued(const struct cJSON *result, const char *error, void *user)
{
    struct kage_run *run = user;

    if (run->done)
        return;
    if (error)
        kage_run_finish(run, KAGE_CLASS_INTERNAL, 0, (struct kage_loc){0},
                        kage_asprintf("QEMU does not let the machine go on: %s", error));
    else if (!run->client)
        kage_run_greet(run);
}

static void go_on(struct kage_run *run)
{
    run->making->phase = BACK;
    kage_timer_set(run->save_timer, 0);
    kage_timer_set(run->boot_timer, LIMIT_MS);
    kage_qmp_execute(run->qmp, "cont", NULL, -1, on_continued, run);
}

static void give_up(struct kage_run *run, char *why)
{
    note_trouble(run->making, why);
    go_on(run);
}

/* ---- what is kept ---- */

static void past_of(const struct kage_run *run, size_t n, struct kage_past_command *past)
{
    for (size_t i = 0; i < n; i++) {
        const struct kage_command *c = &run->commands[i];

        if (c->phase == KAGE_PHASE_SERVING) {
            past[i].past = KAGE_PAST_RUNNING;
            past[i].handle = kage_strdup(c->handle);
        } else if (c->result->status == KAGE_COMMAND_PASSED) {
            past[i].past = KAGE_PAST_PASSED;
            past[i].exit_code = c->result->exit_code;
        }
    }
}

static void keep(struct kage_run *run)
{
    struct kage_making *m = run->making;
    struct kage_past_command *past = kage_alloc((run->command + 1) * sizeof *past);
    KAGE_CLEANUP(kage_freep) char *commands = NULL;
    struct kage_error err = KAGE_ERROR_INIT;

    past_of(run, run->command, past);
    commands = kage_past_write(past, run->command);
    kage_past_free(past, run->command);
    kage_snapshot_keep_console(run, m->place.folder);
    if (kage_template_commit(&m->place, run->plan,
                             &(struct kage_template_note){.after = run->plan->steps[m->step].name,
                                                          .commands = commands},
                             &err) < 0) {
        note_trouble(m, kage_strdup(err.message));
    } else {
        free(run->kept);
        run->kept = kage_strdup(m->place.key);
        run->recalled = run->command;
    }
    kage_error_done(&err);
    kage_template_done(&m->place);
}

/* One step of copying; on to the next thing when it is done. */
static void copy(struct kage_run *run)
{
    struct kage_making *m = run->making;
    off_t memory = (off_t)run->plan->memory;
    int r = -1;

    if (m->phase == COPYING_RAM)
        r = kage_sparse_copy(run->ram_fd, m->place.ram_fd, memory, &m->at, COPY_STEP);
    else if (m->phase == COPYING_DISK)
        r = kage_sparse_copy(run->disk_fd, m->place.disk_fd, (off_t)run->plan->disk, &m->at,
                             COPY_STEP);
    if (r < 0) {
        give_up(run, kage_asprintf("cannot copy the machine: %s", strerror(errno)));
        return;
    }
    kage_timer_set(run->boot_timer, LIMIT_MS);
    kage_timer_set(run->save_timer, 1);
    if (r == 0)
        return;
    m->at = 0;
    if (m->phase == COPYING_RAM && run->disk_fd >= 0) {
        m->phase = COPYING_DISK;
    } else {
        keep(run);
        go_on(run);
    }
}

/* ---- saving ---- */

static void on_refused(const struct cJSON *result, const char *error, void *user)
{
    struct kage_run *run = user;

    if (error && run->making && run->making->phase == SAVING && !run->done)
        give_up(run, kage_strdup(error));
}

static void on_status(const struct cJSON *result, const char *error, void *user)
{
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(result, "status");
    struct kage_run *run = user;

    if (run->done || !run->making || run->making->phase != SAVING)
        return;
    if (cJSON_IsString(status) && !strcmp(status->valuestring, "completed")) {
        run->making->phase = COPYING_RAM;
        kage_timer_set(run->save_timer, 1);
    } else if (!cJSON_IsString(status) || !strcmp(status->valuestring, "failed")) {
        const cJSON *why = cJSON_GetObjectItemCaseSensitive(result, "error-desc");

        give_up(run, kage_strdup(cJSON_IsString(why) ? why->valuestring
                                 : error             ? error
                                                     : "QEMU could not save the machine"));
    } else {
        kage_timer_set(run->save_timer, POLL_MS);
    }
}

void kage_checkpoint_on_timer(struct kage_run *run)
{
    struct kage_making *m = run->making;

    if (!m || run->done)
        return;
    if (run->client) {
        kage_client_free(run->client);
        run->client = NULL;
        kage_timer_set(run->heartbeat, 0);
        kage_timer_set(run->save_timer, QUIET_MS);
        kage_timer_set(run->boot_timer, LIMIT_MS);
    } else if (m->phase == QUIET) {
        m->phase = SAVING;
        kage_snapshot_write(run, m->place.state_fd, on_refused);
        kage_timer_set(run->save_timer, POLL_MS);
    } else if (m->phase == SAVING) {
        kage_qmp_execute(run->qmp, "query-migrate", NULL, -1, on_status, run);
    } else {
        copy(run);
    }
}

/* ---- making ---- */

static void on_remounted(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;

    if (run->done)
        return;
    if (reply->type == KAGE_MSG_ERROR) {
        KAGE_CLEANUP(kage_freep)
        char *why = kage_printable(reply->error.message, strlen(reply->error.message));

        kage_run_finish(run, KAGE_CLASS_MOUNT, 0, run->plan->steps[run->making->step].loc,
                        kage_asprintf("the guest could not make a mount again after a checkpoint "
                                      "was given up: %s",
                                      why));
        return;
    }
    if (--run->making->due == 0) {
        kage_checkpoint_conclude(run);
        kage_steps_next(run);
    }
}

/* Some share could not be taken away: back with the others. */
static void remount(struct kage_run *run)
{
    struct kage_making *m = run->making;

    m->due = 0;
    for (size_t i = 0; i < run->plan->n_steps; i++) {
        if (!m->unmounted[i])
            continue;
        m->due++;
        kage_client_request(run->client, KAGE_MSG_MOUNT, run->plan->steps[i].payload, on_remounted,
                            run);
    }
    if (!m->due) {
        kage_checkpoint_conclude(run);
        kage_steps_next(run);
    }
}

/* Why no checkpoint is made of a machine in this state, owned; NULL when one can be. */
static char *obstacle(const struct kage_run *run)
{
    for (size_t i = 0; i < run->command; i++) {
        const struct kage_command *c = &run->commands[i];
        enum kage_command_status status = c->result->status;

        if (c->phase == KAGE_PHASE_SERVING
                ? !c->late
                : status == KAGE_COMMAND_PASSED || status == KAGE_COMMAND_NOT_RUN)
            continue;
        KAGE_CLEANUP(kage_freep) char *name = kage_printable(c->step->name, strlen(c->step->name));
        return kage_asprintf("'%s' did not pass", name);
    }
    return run->job_failed ? kage_strdup("the job has failed") : NULL;
}

static void on_unparked(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;

    if (run->done)
        return;
    if (reply->type == KAGE_MSG_ERROR)
        kage_run_finish(run, KAGE_CLASS_INTERNAL, 0, (struct kage_loc){0},
                        kage_strdup("the guest could not go on after a checkpoint was given up"));
    else
        remount(run);
}

static void on_parked(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;

    if (run->done)
        return;
    if (reply->type == KAGE_MSG_ERROR) {
        note_trouble(run->making,
                     kage_printable(reply->error.message, strlen(reply->error.message)));
        remount(run);
        return;
    }
    /* From here on nothing is told any more, so what is known now is what is kept. A process in the
     * background may have ended since the last look. */
    run->making->trouble = obstacle(run);
    if (run->making->trouble) {
        kage_client_request(run->client, KAGE_MSG_ADOPT, "{}", on_unparked, run);
        return;
    }
    run->making->phase = QUIET;
    kage_timer_set(run->save_timer, 1); /* the client is not freed under its own feet */
}

static void on_prepared(const struct kage_msg *reply, void *user)
{
    /* Without it the machine is saved all the same, and the next command takes longer. */
}

static void park(struct kage_run *run)
{
    run->making->phase = PARKING;
    kage_client_request(run->client, KAGE_MSG_PREPARE, KAGE_PREPARE, on_prepared, run);
    kage_client_request(run->client, KAGE_MSG_PARK, "{}", on_parked, run);
}

/* Replies come in the order of the requests, which was that of the steps, backwards. */
static const struct kage_plan_step *unmount_due(struct kage_run *run, size_t *ret_step)
{
    size_t nth = run->making->due;

    for (size_t i = 0; i < run->plan->n_steps; i++)
        if (kage_step_mounts_share(&run->plan->steps[i]) && --nth == 0) {
            *ret_step = i;
            return &run->plan->steps[i];
        }
    return NULL;
}

static char *busy_text(const struct kage_plan_step *step, const struct kage_msg *reply)
{
    KAGE_CLEANUP(kage_freep) char *point = kage_step_share_point(step);
    KAGE_CLEANUP(kage_freep)
    char *why = kage_printable(reply->error.message, strlen(reply->error.message));

    if (reply->error.errnum == EBUSY)
        return kage_asprintf("the share at '%s' is in use; a process in the background works in it "
                             "or has a file of it open",
                             point);
    return kage_asprintf("the share at '%s' cannot be unmounted: %s", point, why);
}

static void on_unmounted(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;
    struct kage_making *m = run->making;
    size_t i = 0;
    const struct kage_plan_step *step;

    if (run->done)
        return;
    step = unmount_due(run, &i);
    if (reply->type == KAGE_MSG_ERROR)
        note_trouble(m, busy_text(step, reply));
    else
        m->unmounted[i] = true;
    if (--m->due)
        return;
    if (m->trouble)
        remount(run);
    else
        park(run);
}

static void unmount(struct kage_run *run)
{
    struct kage_making *m = run->making;

    m->unmounted = kage_alloc((run->plan->n_steps + 1) * sizeof *m->unmounted);
    for (size_t i = run->plan->n_steps; i-- > 0;) {
        KAGE_CLEANUP(kage_freep) char *point = kage_step_share_point(&run->plan->steps[i]);
        struct kage_msg msg;

        if (!point)
            continue;
        m->due++;
        kage_msg_init(&msg, KAGE_MSG_UNMOUNT);
        msg.unmount.mount_point = point;
        kage_client_request_msg(run->client, &msg, on_unmounted, run);
    }
    if (!m->due)
        park(run);
}

/* What was read is what the key says, or the checkpoint would lie. */
static char *inputs_changed(const struct kage_run *run, size_t index)
{
    const struct kage_checkpoints *all = run->origin->checkpoints;
    struct kage_checkpoints now = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    char *why = NULL;

    if (kage_checkpoints_find(run->plan, run->origin->template_key, index + 1, NULL, NULL, &now,
                              &err) < 0)
        why = KAGE_TAKE(err.message);
    else if (now.n != index + 1 || strcmp(now.items[index].key, all->items[index].key) != 0)
        why = kage_strdup("an input changed while the commands ran");
    kage_checkpoints_done(&now);
    kage_error_done(&err);
    return why;
}

static uint64_t blocks_of(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static char *begin(struct kage_run *run, struct kage_making *m)
{
    const char *key = run->origin->checkpoints->items[m->index].key;
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_template there = KAGE_TEMPLATE_INIT;
    char *why = NULL;
    int r;

    if (kage_template_open(key, &there, &err) == 0) {
        kage_template_done(&there);
        return kage_strdup("another run has made it in the meantime");
    }
    if (!kage_template_has_room(blocks_of(run->ram_fd) + blocks_of(run->disk_fd)))
        return kage_strdup("too little space is free in the cache folder");
    r = kage_template_begin(key, run->plan->memory, &m->place, &err);
    if (r > 0)
        why = kage_strdup("another run is making it");
    else if (r < 0 || (run->disk_fd >= 0 && kage_template_add_disk(&m->place, &err) < 0))
        why = KAGE_TAKE(err.message);
    if (!why && run->disk_fd >= 0 && ftruncate(m->place.disk_fd, (off_t)run->plan->disk) < 0)
        why = kage_asprintf("cannot make a file: %s", strerror(errno));
    kage_error_done(&err);
    return why;
}

bool kage_checkpoint_make(struct kage_run *run, size_t step)
{
    const struct kage_checkpoints *all = run->origin->checkpoints;
    struct kage_making *m;
    size_t index = 0;

    if (!run->plan->steps[step].checkpoint || run->job_failed || run->done)
        return false;
    if (run->ram_fd < 0 || !all) {
        kage_run_progress(run, "no checkpoint is made of this machine");
        return false;
    }
    while (index < all->n && all->items[index].step != step)
        index++;
    if (index == all->n)
        return false;
    m = kage_alloc(sizeof *m);
    *m = (struct kage_making){
        .index = index, .step = step, .place = KAGE_TEMPLATE_INIT, .started_ms = kage_now_ms()};
    run->making = m;
    m->trouble = obstacle(run);
    if (!m->trouble)
        m->trouble = inputs_changed(run, index);
    if (!m->trouble)
        m->trouble = begin(run, m);
    if (m->trouble) {
        kage_checkpoint_conclude(run);
        return false;
    }
    kage_run_stage(run, NULL);
    unmount(run);
    return true;
}

/* ---- the start and the end of a run ---- */

static bool will_make(const struct kage_run *run)
{
    const struct kage_origin *o = run->origin;
    const struct kage_checkpoints *all = o->checkpoints;

    return all && all->n && (!o->from || o->from != &all->items[all->n - 1]);
}

/* Without it there will be no checkpoint, and nothing else is different. */
static void own_memory(struct kage_run *run)
{
    off_t size = (off_t)run->plan->memory;

    run->ram_fd = memfd_create("kage-ram", MFD_CLOEXEC);
    if (run->ram_fd >= 0 && ftruncate(run->ram_fd, size) == 0 &&
        kage_sparse_clone(run->template->ram_fd, run->ram_fd, size) == 0)
        return;
    kage_run_progress(run, "cannot copy the memory of the saved machine: %s", strerror(errno));
    kage_closep(&run->ram_fd);
}

int kage_checkpoint_prepare(struct kage_run *run, struct kage_error *err)
{
    bool saved = run->template->disk_fd >= 0;

    if (will_make(run))
        own_memory(run);
    if (!run->plan->disk || (!saved && run->ram_fd < 0))
        return 0;
    if (!saved)
        return kage_scratch_make(run->plan->disk, &run->disk_fd, err);
    if (kage_scratch_file(run->plan->disk, &run->disk_fd, err) < 0)
        return -1;
    if (kage_sparse_clone(run->template->disk_fd, run->disk_fd, (off_t)run->plan->disk) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot copy the saved scratch disk");
    return 0;
}

void kage_checkpoint_free(struct kage_run *run)
{
    if (run->making)
        forget(run);
    kage_freep(&run->kept);
    kage_closep(&run->ram_fd);
    kage_closep(&run->disk_fd);
}
