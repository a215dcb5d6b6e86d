#pragma once

#include <stdint.h>

#include "common/base/error.h"

/* Makes a scratch disk of `size` bytes: a sparse file without a name, which is gone with the last
 * process that has it open, holding an empty ext4 file system. */
int kage_scratch_make(uint64_t size, int *ret_fd, struct kage_error *err);

/* A file of that kind without a file system in it. */
int kage_scratch_file(uint64_t size, int *ret_fd, struct kage_error *err);

/* Where it is made: TMPDIR if that is an absolute path, else /var/tmp. Borrowed. */
const char *kage_scratch_folder(void);
