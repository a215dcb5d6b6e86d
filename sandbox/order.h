#pragma once

#include "sandbox/options.h"
#include "sandbox/report.h"

/*
 * For the command's process of a helper that was started with --wait: says that it
 * waits, and takes the order. *o is then what a helper started for that command
 * would have got, and standard input, output, error and the environment are the
 * command's. The order must be for a sandbox like the one that was `made`. Returns
 * -1 with *f set, also when vmd wants no command any more.
 */
int kage_order_take(const struct kage_sandbox_options *made, struct kage_sandbox_options *o,
                    struct kage_failure *f);
