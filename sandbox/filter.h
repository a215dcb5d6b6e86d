#pragma once

#include "sandbox/options.h"

/* Closes the system calls that the profile does not allow, for good. Returns 0
 * or a negative number with errno set. Does nothing for KAGE_SANDBOX_NONE. */
int kage_filter_install(enum kage_sandbox_profile profile);
