#pragma once

#include "sandbox/options.h"
#include "sandbox/report.h"

/* What can be given up for good before the command's user is known, but for whether
 * it is root: the bounding set, and the gain of privileges by exec. */
int kage_privileges_bound(const struct kage_sandbox_options *o, struct kage_failure *f);

/* Then: becomes the command's user and gives up what the profile does not leave it,
 * except for what the system call filter takes. No way back. */
int kage_privileges_drop(const struct kage_sandbox_options *o, struct kage_failure *f);

/* Limits, OOM preference, umask: what a command should not inherit from vmd. */
int kage_limits_set(struct kage_failure *f);
