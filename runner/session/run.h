#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "runner/image/image.h"
#include "runner/plan/plan.h"
#include "runner/report/result.h"

struct kage_mask;
struct kage_secrets;

struct kage_run_options {
    bool progress;       /* one line per stage on standard error */
    bool cold;           /* boot; neither use nor make a template */
    bool times;          /* fill the result's timeline */
    uint64_t started_ms; /* kage_now_ms() when the program began: durations count from there */

    /* For a machine that stays: called once sessions and mounts are made and the plan's commands
     * have run. The machine then lives until a signal or its own end; the job's timeout does not
     * count. NULL: the run ends with the last command. The token is borrowed. */
    void (*on_up)(uint16_t port, const char *token, void *user);
    /* What the guest prints on its console. May be NULL. */
    void (*on_console)(const char *data, size_t len, void *user);
    void *user;

    /* Set by kage_run() itself. */
    const struct kage_secrets *secrets;
    const struct kage_mask *mask;
};

/*
 * Carries a plan out: starts the machine, sends its frames in order, passes the
 * commands' output to standard output and error, and takes the machine away
 * again, whatever happens. Always fills *result; what went wrong is in it.
 */
void kage_run(const struct kage_plan *plan, const struct kage_image_files *files,
              const struct kage_run_options *options, struct kage_result *result);
