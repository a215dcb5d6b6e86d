#pragma once

#include "common/base/error.h"

/* The folder that holds the folders of this user's machines; made on demand, 0700, and refused when
 * it belongs to someone else or is a link (another user may have put it there first). Owned;
 * NULL with err set on failure. */
char *kage_vm_base(struct kage_error *err);

struct kage_vm;

/* Removes everything a machine's folder may hold, the lock last, and the folder. Does not ask who
 * holds the lock: for its owner, and for those who have asked. */
int kage_vm_remove_folder(const struct kage_vm *vm, struct kage_error *err);
