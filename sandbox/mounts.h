#pragma once

#include "sandbox/report.h"

#include <stdbool.h>

/* In a fresh mount and PID namespace: gives the namespace its own /proc, with
 * the parts that would let root act on the whole guest masked if `mask`. Only
 * root needs that: those files are root's, and nobody else becomes root here. */
int kage_mounts_setup(bool mask, struct kage_failure *f);
