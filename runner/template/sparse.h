#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Copies of large files that are mostly empty: a guest's memory, its disk. A copy
 * is made in steps, so that a loop can do other things in between.
 */

/* Copies what is not zero of [*at, size) of one file into another, empty one, at the same places,
 * and moves *at on. Returns 1 when all is copied, 0 when about `budget` bytes are, -1 with errno.
 */
int kage_sparse_copy(int from, int to, off_t size, off_t *at, uint64_t budget);

/* All at once, and by sharing the blocks where the file system can. */
int kage_sparse_clone(int from, int to, off_t size);
