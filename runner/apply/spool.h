#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * The output of a job that is held back until the job is over: pieces of two
 * streams in the order they came. Some of it is kept in memory, and the rest in
 * a file without a name below $TMPDIR (/var/tmp), which goes with the process.
 */
struct kage_spool;

struct kage_spool *kage_spool_new(void);
void kage_spool_free(struct kage_spool *spool); /* NULL is fine */

/* Returns 0 or, once the file cannot be written any more, what is in the way as an errno value. */
int kage_spool_add(struct kage_spool *spool, bool is_stderr, const void *data, size_t len);

/* Takes out the next bytes, at most `size`, all of one stream. Returns how many, 0 at the end, -1
 * with errno set. Nothing can be added after the first call. */
long kage_spool_take(struct kage_spool *spool, void *buf, size_t size, bool *is_stderr);

/* The folder its file is in, for messages. */
const char *kage_spool_folder(void);
