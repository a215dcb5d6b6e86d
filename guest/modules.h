#pragma once

#include "common/base/error.h"

/* Loads the kernel modules that the file `list` names, one path a line, in load order. All paths
 * are taken below root_fd. A missing list is an empty one; a module that is already there is fine.
 * One that cannot be loaded does not keep the others from it; the first such is the error. */
int kage_modules_load(int root_fd, const char *list, struct kage_error *err);
