#pragma once

#include "sandbox/options.h"
#include "sandbox/report.h"

/* Becomes the command's user and gives up what the profile does not leave it,
 * except for the system call filter, which comes last of all. No way back. */
int kage_privileges_drop(const struct kage_sandbox_options *o, struct kage_failure *f);

/* Limits, OOM preference, umask: what a command should not inherit from vmd. */
int kage_limits_set(struct kage_failure *f);
