#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

/* A line longer than this is shown as several. */
#define KAGE_LINES_MAX (64u * 1024u)

/*
 * The output of a job line by line, each behind "PREFIX | ". Bytes are passed on
 * as they are; a line is held back until it is complete, so that lines of jobs
 * that run at once, and of the two streams of one, stay whole.
 */
struct kage_lines {
    char *prefix; /* owned */
    struct kage_buf held[2];
};

/* Appends to `out` the lines that are complete now. */
void kage_lines_add(struct kage_lines *lines, bool is_stderr, const void *data, size_t len,
                    struct kage_buf *out);
/* At the end of a stream: also the last line, completed. */
void kage_lines_end(struct kage_lines *lines, bool is_stderr, struct kage_buf *out);
void kage_lines_done(struct kage_lines *lines);
