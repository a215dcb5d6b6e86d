#pragma once

#include "common/loop/loop.h"
#include "runner/qemu/console.h"
#include "runner/qemu/process.h"
#include "runner/session/command.h"
#include "runner/session/run.h"
#include "runner/template/checkpoint.h"
#include "runner/template/template.h"

struct cJSON;
struct kage_client;
struct kage_line;
struct kage_msg;
struct kage_output;
struct kage_qmp;

/* How a machine comes up. */
enum kage_start {
    KAGE_START_BOOT,
    KAGE_START_SAVE,    /* boot, save it as a template, end */
    KAGE_START_RESTORE, /* from a template */
};

/* Where a run begins. */
struct kage_origin {
    enum kage_start how;
    struct kage_template *template; /* NULL when booting */
    /* The plan's checkpoints; those after `from` are to be made. NULL: none can be. */
    const struct kage_checkpoints *checkpoints;
    const char *template_key;           /* what their keys begin with */
    const struct kage_checkpoint *from; /* what the template is; NULL when it is none of them */
};

/* The state of one run, shared by run.c (the machine's life), steps.c (the plan's frames) and
 * those that steps.c leaves its parts to. */
struct kage_run {
    const struct kage_plan *plan;
    const struct kage_image_files *files;
    const struct kage_run_options *options;
    struct kage_result *result;
    const struct kage_origin *origin;
    enum kage_start how;            /* from origin, like the next one */
    struct kage_template *template; /* NULL when booting */
    bool resumed;                   /* the restored machine runs */
    bool saving, saved;

    struct kage_loop *loop;
    struct kage_output *out, *err; /* standard output and error */
    struct kage_qemu qemu;
    struct kage_qmp *qmp;
    struct kage_console console;
    struct kage_watch *pid_watch, *console_watch;
    struct kage_line *line; /* to vmd */
    struct kage_client *client;
    uint16_t port; /* of the host, by which others reach a machine that stays; 0 until known */
    uint64_t boot_start_ms;
    uint64_t stage_us; /* when the current stage began, see kage_run_stage() */
    bool ready;        /* vmd has answered */
    bool done;         /* the verdict stands; what is left is to write out and stop */
    bool vm_gone;

    struct kage_later finished;
    struct kage_timer *save_timer, *drain_timer;
    struct kage_timer *boot_timer, *job_timer, *heartbeat, *loss_timer;
    char *loss_why;
    enum kage_class loss_class;

    /* steps.c */
    size_t next_step;   /* into plan->steps */
    size_t replies_due; /* sessions and mounts not answered yet */
    size_t command;     /* index of the running or next command in result->commands */
    bool command_running;
    bool ending; /* the last command is over */
    bool job_failed;
    struct kage_making *making;    /* checkpoint.c; NULL unless one is being made */
    int ram_fd, disk_fd;           /* memory and disk that can be saved; -1 */
    size_t back_due, back_done;    /* checkpoint.c: replies after a restore */
    size_t recalled;               /* commands that the last checkpoint, used or made, has done */
    char *kept;                    /* key of the last one that was made */
    struct kage_command *commands; /* as many as result->commands; command.c */
    struct kage_artifacts *artifacts; /* artifacts.c; NULL until it is their turn */
};

/* run.c: one machine from start to end. Returns whether it came up, and for one that is saved,
 * whether that worked. */
bool kage_run_machine(const struct kage_plan *plan, const struct kage_image_files *files,
                      const struct kage_run_options *options, const struct kage_origin *origin,
                      struct kage_result *result);

/* Ends the run. The first call decides: later ones are ignored. Takes ownership of message. */
void kage_run_finish(struct kage_run *run, enum kage_class class, int exit_code,
                     struct kage_loc loc, char *message);

/* Ends a stage of the machine's life and begins the next: it goes to the timeline under this name,
 * which says what was done in it; NULL leaves it out. */
void kage_run_stage(struct kage_run *run, const char *name);
/* Spans of the guest; moments are as vmd told them, KAGE_UNSET for none. */
void kage_run_guest_span(struct kage_run *run, const char *name, int64_t start_us, int64_t end_us);

/* A line of kage's own on standard error when progress is on. */
void kage_run_progress(struct kage_run *run, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Says hello to vmd, anew if need be. */
void kage_run_greet(struct kage_run *run);

/* Goes on reading from the guest unless something that it feeds is full. */
void kage_run_unpause(struct kage_run *run);

/* What vmd is asked to make ahead: sandboxes with the limit that most specs have. */
#define KAGE_PREPARE "{\"max_processes\":" KAGE_DEFAULT_PROCESSES "}"

/* snapshot.c: saving a machine that is ready, and the start of a restored one. */
/* Memory that can be saved; sets run->ram_fd. */
int kage_snapshot_prepare(struct kage_run *run, struct kage_error *err);
void kage_snapshot_save(struct kage_run *run);
void kage_snapshot_on_timer(void *run);
void kage_snapshot_restore(struct kage_run *run);
/* Has QEMU stop the machine and write its state; the file stays the caller's. Errors go to fn. */
void kage_snapshot_write(struct kage_run *run, int state_fd,
                         void (*fn)(const struct cJSON *result, const char *error, void *user));
void kage_snapshot_keep_console(const struct kage_run *run, const char *folder);

/* checkpoint.c: machines saved after a command, and runs that start there. */
/* Memory and disk for a run that begins from a template; sets run->ram_fd and disk_fd. */
int kage_checkpoint_prepare(struct kage_run *run, struct kage_error *err);
/* Called when the command of that step has passed. Returns whether a checkpoint is being made;
 * kage_steps_next() is called when that is over. */
bool kage_checkpoint_make(struct kage_run *run, size_t step);
void kage_checkpoint_on_timer(struct kage_run *run);
/* Whether the machine that was saved goes on, and has not answered yet. */
bool kage_checkpoint_is_back(const struct kage_run *run);
/* Goes on in a machine that was saved, this one or a copy of it, once vmd has answered. */
void kage_checkpoint_return(struct kage_run *run);
/* A background command failed while others ran. */
void kage_checkpoint_on_failure(const struct kage_command *c);
void kage_checkpoint_free(struct kage_run *run);

/* Between checkpoint.c, which makes them, and recall.c: the machine is on its way back, and is
 * back. */
void kage_checkpoint_returning(struct kage_run *run);
void kage_checkpoint_conclude(struct kage_run *run);
/* The mount point if the step mounts a share, else NULL. Owned. */
char *kage_step_share_point(const struct kage_plan_step *step);
bool kage_step_mounts_share(const struct kage_plan_step *step);

/* steps.c: everything after vmd is ready. */
void kage_steps_start(struct kage_run *run);
void kage_steps_next(struct kage_run *run);
void kage_steps_on_output(struct kage_run *run, uint32_t id, bool is_stderr, const uint8_t *data,
                          size_t len);
void kage_steps_on_exit(struct kage_run *run, uint32_t id, const struct kage_msg *exit);
/* Notes that the environment broke while commands ran. */
void kage_steps_on_loss(struct kage_run *run);

/* Told by the commands: one is over, after the phase it was in; one in the background is ready. */
void kage_steps_ended(struct kage_command *c, enum kage_phase was);
void kage_steps_ready(struct kage_command *c);

/* An id that no command and nothing that belongs to one has. */
uint32_t kage_steps_free_id(const struct kage_run *run);

/* Makes this the job's verdict unless it has one. */
void kage_steps_fail(struct kage_run *run, enum kage_class class, int code, struct kage_loc loc,
                     const char *message);
/* Whether what has this `when` is done now. */
bool kage_steps_wanted(const struct kage_run *run, enum kage_when when);
