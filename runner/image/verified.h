#pragma once

#include "common/base/error.h"

/*
 * Whether an open file of the store still has its digest. Reading a gigabyte at
 * every start would cost more than booting, so the answer is kept beside the file,
 * with its inode, size, mtime and ctime. The kernel sets ctime on any change,
 * and a process cannot set it back; so only a disk that errs by itself goes unnoticed, and
 * `kage image inspect` reads every byte.
 */
int kage_verified(int fd, const char *path, const char *sha256, struct kage_error *err);
