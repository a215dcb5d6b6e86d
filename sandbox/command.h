#pragma once

#include "sandbox/options.h"
#include "sandbox/report.h"

#include <sys/types.h>

/* Starts the command as a child of the namespace's init. Returns its pid once
 * execve() has succeeded. Otherwise -1: with *exec_errno set if only that
 * failed, else with *f saying what did; nothing is left running then. */
pid_t kage_command_start(const struct kage_sandbox_options *o, int *exec_errno,
                         struct kage_failure *f);
