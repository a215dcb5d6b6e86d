#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "common/base/error.h"
#include "common/proto/frame.h"
#include "runner/image/image.h"
#include "runner/plan/plan.h"

/*
 * The QEMU process of one VM. It is kage's own child: it dies with kage (parent
 * death signal), is watched through a pidfd, and everything it is given are
 * descriptors, so that no path, socket or folder stays behind however kage ends.
 */
struct kage_qemu {
    pid_t pid;      /* 0 when not running */
    int pid_fd;     /* readable when QEMU has ended */
    int qmp_fd;     /* kage's end of the control channel; moved out by its user */
    int console_fd; /* kage's end of the serial console */
    int control_fd; /* kage's end of the port that vmd answers on; moved out by its user */
    int stderr_fd;  /* what QEMU itself complains about */
    char token[KAGE_TOKEN_HEX + 1]; /* "" for a machine that only kage reaches */
    bool jailed;                    /* Landlock is in force */
};

#define KAGE_QEMU_INIT                                                                             \
    {                                                                                              \
        .pid_fd = -1, .qmp_fd = -1, .console_fd = -1, .control_fd = -1, .stderr_fd = -1            \
    }

/* The guest's memory in a file, for machines that are saved or restored. */
struct kage_qemu_memory {
    int ram_fd;   /* a file as large as the guest's memory; stays the caller's */
    int state_fd; /* the saved state to begin with, which QEMU is told by this number; -1: it boots
                   */
    bool shared;  /* the guest writes to the file; else it is mapped privately */
    int disk_fd;  /* the scratch disk, if the machine has one: the caller's; -1 for a new one */
};

/* Opens the shares, makes the token, starts QEMU. `memory` may be NULL. On failure nothing is left
 * running. */
int kage_qemu_start(const struct kage_plan *plan, const struct kage_image_files *files,
                    const struct kage_qemu_memory *memory, struct kage_qemu *ret,
                    struct kage_error *err);

/* The program as an absolute path without links, searched in PATH; owned, NULL if there is none. */
char *kage_qemu_program(const char *name);

/* Kills QEMU if it runs, waits for it, closes what is open. */
void kage_qemu_stop(struct kage_qemu *qemu);

/* Reads what QEMU printed on stderr so far, one printable line, without its program prefix. Owned;
 * NULL if nothing. */
char *kage_qemu_complaint(const struct kage_qemu *qemu);
