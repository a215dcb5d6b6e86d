#pragma once

#include "sandbox/options.h"

/* The life of the namespace's process 1: finishes the namespaces, starts the
 * command, reaps and forwards signals until it ends, ends what is left, and
 * reports. Returns the exit code for the helper. */
int kage_init_run(const struct kage_sandbox_options *o);
