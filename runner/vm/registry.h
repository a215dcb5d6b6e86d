#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/error.h"
#include "common/proto/frame.h"

/*
 * Long-lived machines, as the file system knows them. Each has a folder of its
 * own, 0700, in the user's runtime folder ($XDG_RUNTIME_DIR/kage, else
 * /tmp/kage-UID, which must belong to the user):
 *
 *   lock         locked (fcntl) by the owner process as long as the machine lives
 *   vm.json      what it is and how it ended; replaced in one step
 *   token        0600
 *   console.log  the guest's serial console, capped
 *
 * The lock is the truth: the kernel drops it when the owner dies, however that happens, and tells
 * who holds it, so no process id in a file is ever trusted or signalled.
 */
enum kage_vm_state {
    KAGE_VM_STARTING,
    KAGE_VM_RUNNING,
    KAGE_VM_ENDED, /* the owner wrote down why */
    KAGE_VM_DEAD,  /* the owner went away without a word */
    KAGE_VM_STATE_COUNT,
};

struct kage_vm {
    char *id;     /* eight hexadecimal digits */
    char *name;   /* the spec's name, or the image's */
    char *folder; /* absolute */
    enum kage_vm_state state;
    char *reason; /* of the end; NULL while it lives */
    pid_t owner;  /* 0 unless it lives */
    uint16_t port;
    char token[KAGE_TOKEN_HEX + 1]; /* empty unless it runs */
    int64_t started;                /* CLOCK_REALTIME, seconds */
    char *image, *spec, *accel;     /* spec may be NULL */
    bool network;
};

/* "starting", "running", "ended", "dead". */
const char *kage_vm_state_name(enum kage_vm_state state);

/* Every machine of this user, oldest first. *ret is owned; free with kage_vm_list_free. */
int kage_vm_list(struct kage_vm **ret, size_t *n, struct kage_error *err);
void kage_vm_list_free(struct kage_vm *vms, size_t n);

/* Finds a machine by its id or the start of one, its name, or its port, in this order. More than
 * one match, or none, is an error that lists what there is. */
int kage_vm_find(const char *handle, struct kage_vm *ret, struct kage_error *err);
/* The same, and an error that says what happened unless it is running. */
int kage_vm_find_running(const char *handle, struct kage_vm *ret, struct kage_error *err);
void kage_vm_done(struct kage_vm *vm);

/* For the owner: makes the folder and takes the lock (held until the process ends). */
int kage_vm_create(struct kage_vm *vm, struct kage_error *err);
/* Writes vm.json and, while it runs, the token. */
int kage_vm_write(const struct kage_vm *vm, struct kage_error *err);

/* Removes the folder of a machine that does not live. */
int kage_vm_remove(const struct kage_vm *vm, struct kage_error *err);

/* Sends a signal to the owner if it still holds the lock. Returns 1 if it does not live. */
int kage_vm_signal_owner(const struct kage_vm *vm, int signo, struct kage_error *err);
/* Waits until the lock is free, at most so long. Returns 0, or 1 when time ran out. */
int kage_vm_wait_end(const struct kage_vm *vm, unsigned timeout_ms);
