#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/error.h"

/*
 * One command in a machine that runs: connect, spawn, carry the standard streams,
 * signals and the terminal's size, and tell how it ended.
 */
struct kage_exec {
    const char *command; /* NULL: the user's login shell, in the user's home */
    char *const *args;
    size_t n_args;
    const char *cwd, *user, *profile; /* NULL: the guest's default */
    char *const *env;                 /* "NAME=value" */
    size_t n_env;
    bool network;
    bool pty;
    bool builtin; /* command names a program of vmd's own, not of the image */
    uint64_t timeout_ms;

    int in;                    /* -1: the command reads /dev/null */
    int out, err;              /* -1: dropped */
    uint64_t out_max;          /* bytes of output after which it is given up; 0: no limit */
    struct kage_buf *err_text; /* instead of err: the first KAGE_EXEC_TEXT_MAX bytes */
};

#define KAGE_EXEC_TEXT_MAX (64u * 1024u)

struct kage_exec_end {
    int code;      /* what kage exits with */
    bool lost;     /* the connection ended first; the registry may know why */
    char *message; /* owned; NULL when the code says it all */
};

/* The exit codes that are not the command's own. */
enum {
    KAGE_EXEC_TIMEOUT = 124,
    KAGE_EXEC_NO_VERDICT = 125,
    KAGE_EXEC_NOT_EXECUTABLE = 126,
    KAGE_EXEC_NOT_FOUND = 127,
};

/* Takes over INT, TERM, HUP, QUIT and WINCH while it runs, but for those that are ignored. */
void kage_exec_run(uint16_t port, const char *token, const struct kage_exec *what,
                   struct kage_exec_end *ret);
void kage_exec_end_done(struct kage_exec_end *end);
