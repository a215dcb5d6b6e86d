#pragma once

#include <sys/types.h>

/*
 * A child process at the other end of a pipe. Packing and unpacking wait for
 * files, which the event loop must not; and what reads a guest's archive does so
 * in a process of its own.
 */
struct kage_copy_child {
    pid_t pid;
    int fd; /* our end of the pipe */
};

/* The work gets its end of the pipe and returns an exit code; what it has to say it prints.
 * `child_reads` tells the direction. Returns -1 with errno set. */
int kage_copy_child_start(int (*work)(int fd, void *user), void *user, int child_reads,
                          struct kage_copy_child *ret);

/* Closes our end and waits. Returns the exit code, 128 plus the signal that ended it otherwise. */
int kage_copy_child_wait(struct kage_copy_child *child);
