#pragma once

#include "sandbox/options.h"
#include "sandbox/report.h"

/* In a fresh mount and PID namespace: gives the namespace its own /proc, with
 * the parts masked that let this user act on the whole guest. */
int kage_mounts_setup(const struct kage_sandbox_options *o, struct kage_failure *f);
