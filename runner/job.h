#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "runner/plan/plan.h"

/* What verbs that start from a spec have in common: read it, show what is wrong with it, look at
 * the host, make the plan. */
struct kage_job {
    const char *spec;            /* a file, or "-" */
    const char *text;            /* the spec itself, instead of a file; spec is then its name */
    const char *kernel, *initrd; /* in place of the image; may be NULL */
    const char *host;            /* a file of host facts instead of this machine; may be NULL */
    bool show_warnings;          /* also when there are no errors */
    bool no_commands;            /* plan the machine, sessions and mounts only */
    bool stays;                  /* others than kage itself will reach the machine */
    char *const *choices;        /* which jobs of a matrix: those with all of these AXIS=VALUE */
    size_t n_choices;
};

/* Findings go to standard error. Returns 0 with *ret set; 1 when the spec has errors, which have
 * been shown; -1 with err set, whose location stands in the message. */
int kage_job_plan(const struct kage_job *job, struct kage_plan **ret, struct kage_error *err);

/* The same for every job of the spec's matrix. *ret is an empty list before. */
int kage_job_plans(const struct kage_job *job, struct kage_plans *ret, struct kage_error *err);

/* The same for `n` specs, without job->spec: all are read, and shown with what is wrong with them,
 * before any is planned. */
int kage_job_plans_of(const struct kage_job *job, char *const *paths, size_t n,
                      struct kage_plans *ret, struct kage_error *err);

/* Plans that were kept in a file, those that are asked for. */
int kage_job_read_plans(const char *path, const struct kage_job *job, struct kage_plans *ret,
                        struct kage_error *err);
