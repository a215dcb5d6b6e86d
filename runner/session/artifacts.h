#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kage_msg;
struct kage_run;

/*
 * Copies the plan's artifacts out of the guest, one after another, then ends the
 * run. In the guest that is the tar of vmd's own busybox; on the host the archive
 * is read by a process of its own.
 */
void kage_artifacts_start(struct kage_run *run);
/* What comes from the programs it starts: their ids are beyond those of steps.c. */
void kage_artifacts_on_output(struct kage_run *run, bool is_stderr, const uint8_t *data,
                              size_t len);
void kage_artifacts_on_exit(struct kage_run *run, const struct kage_msg *exit);
/* Whether more is waiting to be written than should. */
bool kage_artifacts_full(const struct kage_run *run);
void kage_artifacts_free(struct kage_run *run);
