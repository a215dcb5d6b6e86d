#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "runner/plan/plan.h"
#include "runner/report/timeline.h"

/*
 * What became of a run: the verdict, its class, and one entry per command. This is
 * what --result writes and what the exit code is taken from.
 */
enum kage_command_status {
    KAGE_COMMAND_NOT_RUN, /* skipped by `when`, or the run ended first */
    KAGE_COMMAND_PASSED,
    KAGE_COMMAND_FAILED,
    KAGE_COMMAND_TIMED_OUT,
    KAGE_COMMAND_LOST, /* it had started when the environment broke */
    KAGE_COMMAND_STATUS_COUNT,
};

/* One try of a command. */
struct kage_attempt {
    enum kage_command_status status;
    int exit_code, signal;
    bool out_of_memory;
    uint64_t duration_ms;
    char *message;
};

struct kage_command_result {
    enum kage_command_status status;
    int exit_code; /* 0–255; of a signal, 128 plus its number; -1 when there is none */
    int signal;    /* 0 for none */
    bool out_of_memory;
    bool cached; /* not run: a checkpoint has it done. In the background: it ran on from there */
    uint64_t duration_ms;
    char *message;                 /* owned; NULL when there is nothing to say */
    struct kage_attempt *attempts; /* those that came to an end; the last one decided */
    size_t n_attempts;
};

enum kage_artifact_status {
    KAGE_ARTIFACT_NOT_WANTED, /* by its `when`, or the run ended first */
    KAGE_ARTIFACT_COPIED,
    KAGE_ARTIFACT_MISSING, /* and that is fine: it is optional */
    KAGE_ARTIFACT_FAILED,
    KAGE_ARTIFACT_STATUS_COUNT,
};

struct kage_artifact_result {
    enum kage_artifact_status status;
    char *path, *to;
    char *message; /* NULL when there is nothing to say */
};

struct kage_mask;

struct kage_result {
    enum kage_class class;                /* KAGE_CLASS_NONE when the job passed */
    int exit_code;                        /* of the process */
    char *message;                        /* owned; NULL when the job passed */
    struct kage_loc loc;                  /* of the command or node at fault */
    struct kage_command_result *commands; /* one per spawn step, in order */
    size_t n_commands;
    struct kage_artifact_result *artifacts; /* one per artifact of the plan, in order */
    size_t n_artifacts;
    uint64_t boot_ms, duration_ms;
    struct kage_timeline timeline; /* empty unless it was asked for */
    bool jailed;                   /* QEMU ran under Landlock */
    bool cancelled;                /* ended, or not begun, because another job did not pass */
    struct kage_mask *mask;        /* owned; hides secrets in what is written; NULL for none */
};

/* 124 timeout, 125 no verdict, 130/143/129 interrupted; else the command's own code. */
int kage_result_exit_code(enum kage_class class, int command_code, int signal);

/* Empties the result and gives it a line for every command and artifact of the plan, none of them
 * run. */
void kage_result_begin(const struct kage_plan *plan, struct kage_result *result);

/* What decides of several jobs: one that was interrupted, else the first that did not pass, else
 * the first. Those that were cancelled never do. n is at least 1. */
const struct kage_result *kage_results_verdict(const struct kage_result *results, size_t n);

/* Writes the results of all jobs as JSON, replacing `path` in one step. "-" is not a file name
 * here. There is one result for each plan, and also one when the run failed before there was a
 * plan. */
int kage_results_write(const char *path, const struct kage_plans *plans,
                       const struct kage_result *results, struct kage_error *err);
/* The same for JUnit XML: a test suite per job and a test case per command, an environment failure
 * as <error>. */
int kage_results_write_junit(const char *path, const struct kage_plans *plans,
                             const struct kage_result *results, struct kage_error *err);

/* Whether a report can be written there: asked before the run, so that a typing mistake does not
 * cost one. */
int kage_report_check_path(const char *path, struct kage_error *err);

/* A result between the process that ran the job and the one that asked for it. The second reads
 * back all but what `cancelled` and `mask` say, for a job of this plan; err is set (class spec)
 * when it is not complete, or contradicts itself. *ret is a result, or zeroed, before,
 * and what is on its timeline stays. */
void kage_result_send(const struct kage_result *result, struct kage_buf *out);
int kage_result_receive(const struct kage_buf *text, const struct kage_plan *plan,
                        struct kage_result *ret, struct kage_error *err);

void kage_result_done(struct kage_result *result);
