#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runner/plan/plan.h"
#include "runner/report/mask.h"
#include "runner/report/result.h"

struct kage_msg;
struct kage_run;
struct kage_timer;

/* Where a command of a run is in its life. */
enum kage_phase {
    KAGE_PHASE_WAITING,
    KAGE_PHASE_RUNNING,  /* in front: the run waits for its end */
    KAGE_PHASE_STARTING, /* in the background: the run waits until it is ready */
    KAGE_PHASE_SERVING,  /* in the background, while other commands run */
    KAGE_PHASE_STOPPING, /* in the background, told to end */
    KAGE_PHASE_ENDED,
};

/*
 * One command of a run: its attempts, its time, its output. command.c has what all
 * commands have in common, ready.c how one in the background is found to be ready;
 * steps.c decides what comes after what.
 */
struct kage_command {
    struct kage_run *run;
    const struct kage_plan_step *step;
    struct kage_command_result *result;
    enum kage_phase phase;
    bool alive;               /* asked for and not ended: exit or an error will come */
    struct kage_timer *timer; /* its time is over; later, its grace is */
    uint64_t first_start_ms, start_ms;
    uint64_t start_us;  /* as start_ms, for the timeline */
    int64_t started_us; /* on the guest's clock; KAGE_UNSET when it does not tell */
    char *handle;
    bool late;                          /* its time was over before it ended */
    unsigned kills;                     /* signals sent to it */
    unsigned attempt;                   /* 1, 2, … */
    struct kage_mask_stream streams[2]; /* standard output and error */
    uint64_t output_bytes;              /* of all attempts */

    struct kage_timer *probe_timer;
    bool probing;            /* a probe is under way */
    unsigned probe_of;       /* the attempt it was for */
    char *probe_handle;      /* exec: the running program */
    char *probe_why;         /* what the last one said */
    struct kage_buf said[2]; /* log: the ends of what was printed, as long as a match may need */
};

/* One for each spawn step. Returns -1 with err set. */
int kage_commands_new(struct kage_run *run, struct kage_error *err);
void kage_commands_free(struct kage_run *run);
void kage_commands_timers_off(struct kage_run *run);

void kage_command_start(struct kage_command *c);
/* It runs already, in the background, since before a checkpoint; its time begins now. */
void kage_command_go_on(struct kage_command *c, const char *handle);
/* TERM, then KILL; a background command that is no longer needed. */
void kage_command_stop(struct kage_command *c);
void kage_command_on_output(struct kage_command *c, bool is_stderr, const uint8_t *data,
                            size_t len);
void kage_command_on_exit(struct kage_command *c, const struct kage_msg *exit);
/* The time it had to become ready or to end is over. */
void kage_command_on_timer(void *command);
/* It is ready: it has left the foreground. */
void kage_command_is_ready(struct kage_command *c);

/* ready.c. The id of its program, if that is how it is done, is beyond those of the commands. */
void kage_ready_begin(struct kage_command *c);
void kage_ready_end(struct kage_command *c);
void kage_ready_on_timer(void *command);
void kage_ready_on_output(struct kage_command *c, bool is_stderr, const uint8_t *data, size_t len);
void kage_ready_on_exit(struct kage_command *c, const struct kage_msg *exit);
