#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"

struct kage_loop;

/*
 * A standard stream that command output goes to, byte for byte. Writing never
 * blocks the loop: what the reader does not take waits here, and the owner is
 * told when to stop and go on, so that a slow reader slows the command instead
 * of growing memory. Files are written directly.
 */
struct kage_output;

struct kage_output_handler {
    void (*on_full)(void *user);               /* enough is waiting: stop producing */
    void (*on_empty)(void *user);              /* everything has been written: go on */
    void (*on_broken)(int errnum, void *user); /* the reader is gone, the disk is full, … */
};

/* fd stays the caller's and keeps its flags. */
int kage_output_new(struct kage_loop *loop, int fd, const struct kage_output_handler *handler,
                    void *user, struct kage_output **ret, struct kage_error *err);
void kage_output_write(struct kage_output *out, const void *data, size_t len);
bool kage_output_pending(const struct kage_output *out);
void kage_output_free(struct kage_output *out);
