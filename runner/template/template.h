#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "runner/image/image.h"
#include "runner/plan/plan.h"

/*
 * Templates: machines saved right after vmd was ready, so that a run can begin
 * there instead of booting; and checkpoints, saved after some of a plan's commands.
 * One folder each under the user's cache folder:
 *
 *   templates/KEY/ram        the guest's memory, sparse; runs map it privately
 *   templates/KEY/state      the devices' state, as QEMU's migration writes it
 *   templates/KEY/disk       of a checkpoint: the scratch disk, sparse; runs use a copy
 *   templates/KEY/console    what the machine said while it booted
 *   templates/KEY/meta.json  what it was made from, and the identity of these files
 *   templates/KEY/lock       shared lock: in use
 *   templates/.new-…         being made; renamed when complete
 *
 * The key is a hash of everything that shaped the machine: QEMU's file and
 * version, kernel, initramfs, accelerator and every argument the guest can see; for
 * that of a checkpoint see checkpoint.h. A template holds no secret: a token, where the machine
 * has one, is read from the new QEMU at every connection, and a client's first message gives fresh
 * random bytes and the time.
 *
 * Nothing may change the files once they are made. QEMU before 8.2 insists on
 * opening the memory file for writing even to map it privately, so every use first
 * compares inode, size, mtime and ctime with what was written down; the kernel
 * sets ctime on any change, and a process cannot set it back.
 */
struct kage_template {
    char *key;    /* hex */
    char *folder; /* absolute */
    int ram_fd, state_fd, lock_fd;
    int disk_fd;    /* -1 where there is none */
    bool making;    /* folder is a workplace, not yet a template */
    bool spoilt;    /* a run found that it is no good: removed when it is closed */
    char *commands; /* of a checkpoint: what became of the commands, see kage_past_read() */
    int64_t made;   /* CLOCK_REALTIME seconds */
};

#define KAGE_TEMPLATE_INIT                                                                         \
    {                                                                                              \
        .ram_fd = -1, .state_fd = -1, .lock_fd = -1, .disk_fd = -1                                 \
    }

/* Whether a machine like this can be saved at all. */
bool kage_template_possible(const struct kage_plan *plan);

/* The key. Owned; NULL with err set when the files that shape it cannot be looked at. */
char *kage_template_key(const struct kage_plan *plan, const struct kage_image_files *files,
                        struct kage_error *err);

/* Opens the template of that key for a run. Returns 0; 1 when there is none (one that was changed
 * is removed); -1 with err set. */
int kage_template_open(const char *key, struct kage_template *ret, struct kage_error *err);

/* Begins to make one: a workplace with an empty memory file of `memory` bytes. Returns 1 when
 * somebody else is making the same one. */
int kage_template_begin(const char *key, uint64_t memory, struct kage_template *ret,
                        struct kage_error *err);
/* Waits while somebody else makes it, at most `limit_ms`. */
enum kage_template_wait {
    KAGE_TEMPLATE_FINISHED,  /* it is there, or could not be made */
    KAGE_TEMPLATE_ABANDONED, /* the maker was killed; the workplace is still there */
    KAGE_TEMPLATE_TOO_LONG,
};
enum kage_template_wait kage_template_wait(const char *key, uint64_t limit_ms);
/* Adds an empty file for the disk to a workplace. */
int kage_template_add_disk(struct kage_template *t, struct kage_error *err);
/* Whether so many bytes more can be kept without filling the file system. */
bool kage_template_has_room(uint64_t bytes);

/* What makes a checkpoint of a template. */
struct kage_template_note {
    const char *after;    /* name of the command */
    const char *commands; /* what kage_past_write() gave */
};
/* Puts what was made in place; the template is then open for use. `note` may be NULL. */
int kage_template_commit(struct kage_template *t, const struct kage_plan *plan,
                         const struct kage_template_note *note, struct kage_error *err);
/* Removes a template that did not work, or a workplace. */
void kage_template_discard(struct kage_template *t);
/* Closes; a workplace is removed. */
void kage_template_done(struct kage_template *t);

struct kage_template_info {
    char *key, *name, *accel;
    char *after;   /* of a checkpoint: the command it was made after; else NULL */
    uint64_t disk; /* bytes in use */
    int64_t used;  /* CLOCK_REALTIME seconds of the last use */
    bool in_use;
};
int kage_template_list(struct kage_template_info **ret, size_t *n, struct kage_error *err);
void kage_template_list_free(struct kage_template_info *list, size_t n);
/* `key` may be the start of one; NULL removes all that are not in use. Returns how many, or -1. */
int kage_template_remove(const char *key, struct kage_error *err);
