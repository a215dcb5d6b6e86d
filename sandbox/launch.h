#pragma once

#include "sandbox/options.h"

/* Runs the command as the options say and returns the helper's exit code. */
int kage_sandbox_run(const struct kage_sandbox_options *o);
