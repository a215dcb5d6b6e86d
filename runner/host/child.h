#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/error.h"

/* A short-lived program and what it said. */
struct kage_child {
    struct kage_buf out, err; /* at most KAGE_CHILD_OUTPUT bytes each; the rest is passed over */
    bool timed_out;
    bool cut_short; /* `enough` ended it */
    int status;     /* as waitpid() gives it */
};

#define KAGE_CHILD_OUTPUT 131072u

/*
 * Runs argv[0] (looked up in PATH) with an empty standard input, no descriptors
 * but 0–2 and `keep_fd` (-1 for none), and waits for its end. After `timeout_ms`,
 * or as soon as `enough` (may be NULL) says so of what it printed, it is
 * killed. When this returns the process is gone; should kage be killed first,
 * the kernel kills it too (Linux).
 */
int kage_child_run(const char *const *argv, int keep_fd, unsigned timeout_ms,
                   bool (*enough)(const struct kage_child *child), struct kage_child *ret,
                   struct kage_error *err);

void kage_child_done(struct kage_child *child);
