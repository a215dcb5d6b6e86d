#pragma once

#include "runner/qemu/console.h"
#include "runner/qemu/process.h"
#include "runner/session/run.h"
#include "runner/template/template.h"

struct kage_client;
struct kage_loop;
struct kage_msg;
struct kage_output;
struct kage_qmp;
struct kage_timer;
struct kage_watch;
struct kage_ws;

/* How a machine comes up. */
enum kage_start {
    KAGE_START_BOOT,
    KAGE_START_SAVE,    /* boot, save it as a template, end */
    KAGE_START_RESTORE, /* from a template */
};

/* The state of one run, shared by run.c (the machine's life) and steps.c (the plan's frames). */
struct kage_run {
    const struct kage_plan *plan;
    const struct kage_image_files *files;
    const struct kage_run_options *options;
    struct kage_result *result;
    enum kage_start how;
    struct kage_template *template; /* NULL when booting */
    bool resumed;                   /* the restored machine runs */
    bool saving, saved;

    struct kage_loop *loop;
    struct kage_ws *ws;
    struct kage_output *out, *err; /* standard output and error */
    struct kage_qemu qemu;
    struct kage_qmp *qmp;
    struct kage_console console;
    struct kage_watch *pid_watch, *console_watch;
    struct kage_client *client;
    uint16_t port; /* host end of the forwarded port, 0 until known */
    uint64_t boot_start_ms;
    bool ready; /* vmd has answered */
    bool done;  /* the verdict stands; what is left is to write out and stop */
    bool vm_gone;

    struct kage_timer *save_timer;
    struct kage_timer *boot_timer, *connect_timer, *job_timer, *heartbeat, *loss_timer;
    unsigned silent_ticks;
    char *loss_why;
    enum kage_class loss_class;

    /* steps.c */
    size_t next_step;   /* into plan->steps */
    size_t replies_due; /* sessions and mounts not answered yet */
    size_t command;     /* index of the running or next command in result->commands */
    bool command_running;
    bool job_failed;
    uint64_t command_start_ms;
    char *handle; /* of the running command */
    bool timed_out;
    unsigned kills; /* signals sent to a command that ran out of time */
    struct kage_timer *command_timer;
    uint64_t output_bytes;
};

/* Ends the run. The first call decides: later ones are ignored. Takes ownership of message. */
void kage_run_finish(struct kage_run *run, enum kage_class class, int exit_code,
                     struct kage_loc loc, char *message);

/* A line of kage's own on standard error when progress is on. */
void kage_run_progress(struct kage_run *run, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* snapshot.c: saving a machine that is ready, and the start of a restored one. */
void kage_snapshot_save(struct kage_run *run);
void kage_snapshot_on_exit(struct kage_run *run);
void kage_snapshot_on_timer(void *run);
void kage_snapshot_restore(struct kage_run *run);

/* steps.c: everything after vmd is ready. */
void kage_steps_start(struct kage_run *run);
void kage_steps_on_output(struct kage_run *run, bool is_stderr, const uint8_t *data, size_t len);
void kage_steps_on_exit(struct kage_run *run, const struct kage_msg *exit);
void kage_steps_on_timer(void *run);
/* Notes that the environment broke while a command ran. */
void kage_steps_on_loss(struct kage_run *run);
