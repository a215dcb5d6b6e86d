#pragma once

/*
 * Errors travel up as values. A function that can fail takes a
 * `struct kage_error *err` as its last parameter, returns a negative number on
 * failure and leaves its outputs untouched. Callers add context with
 * kage_error_wrap(); only `main` and the verbs print.
 */

/* What kind of thing went wrong: the class users see in --result and JUnit. */
enum kage_class {
    KAGE_CLASS_NONE,        /* nothing failed */
    KAGE_CLASS_SPEC,        /* the spec is wrong */
    KAGE_CLASS_HOST,        /* this machine lacks something, or refused */
    KAGE_CLASS_IMAGE,       /* the image is missing, damaged, or cannot be built */
    KAGE_CLASS_BOOT,        /* the VM did not come up */
    KAGE_CLASS_PANIC,       /* the guest kernel panicked */
    KAGE_CLASS_AGENT_LOST,  /* vmd or the connection to it went away */
    KAGE_CLASS_MOUNT,       /* a mount or a session was refused by the guest */
    KAGE_CLASS_COMMAND,     /* a command ended with a code nobody expected */
    KAGE_CLASS_SIGNAL,      /* a command was killed by a signal */
    KAGE_CLASS_TIMEOUT,     /* a command or the job ran out of time */
    KAGE_CLASS_INTERRUPTED, /* INT, TERM or HUP ended the run */
    KAGE_CLASS_INTERNAL,    /* a bug, or the peer broke the protocol */
    KAGE_CLASS_COUNT,
};

/* A position in a file the user wrote. `file` is borrowed: whoever made the
 * location keeps the name alive. line and col start at 1; 0 means unknown. */
struct kage_loc {
    const char *file;
    int line;
    int col;
};

struct kage_error {
    enum kage_class class;
    char *message; /* owned; NULL while nothing failed */
    struct kage_loc loc;
    int signal; /* with KAGE_CLASS_INTERRUPTED: which one it was */
};

#define KAGE_ERROR_INIT                                                                            \
    {                                                                                              \
        .class = KAGE_CLASS_NONE                                                                   \
    }

/* "spec", "host", "agent-lost", …: the words used in result files. Static storage. */
const char *kage_class_name(enum kage_class class);

/* Sets *err (err may be NULL) and returns -1, so that callers can `return kage_error_set(…)`.
 * Replaces an error already there. */
int kage_error_set(struct kage_error *err, enum kage_class class, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Like kage_error_set, and appends ": " and strerror(errnum). */
int kage_error_errno(struct kage_error *err, enum kage_class class, int errnum, const char *fmt,
                     ...) __attribute__((format(printf, 4, 5)));

/* Prefixes the message with "<context>: " and keeps class and location. Returns -1. */
int kage_error_wrap(struct kage_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Frees the message and makes *err empty again. Accepts NULL and empty errors. */
void kage_error_done(struct kage_error *err);
