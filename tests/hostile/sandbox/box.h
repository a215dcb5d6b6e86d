#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Runs sandbox-helper the way vmd does. Options and command are one line each,
 * split at blanks, not at tabs; the word PROBE stands for the probe, DIR for a scratch folder
 * that everybody may write to.
 */
struct box {
    pid_t helper;
    int status_fd;
    int out; /* the command's standard output and error, both */
    /* From here on: what box_finish() found. */
    bool started;
    bool ended;      /* the command; what it started may live */
    bool exited;     /* all of it */
    int wait_status; /* of the command, if ended */
    int failed;      /* KAGE_SANDBOX_SETUP_FAILED or _EXEC_FAILED, or 0 */
    int errnum;
    char text[128];
    int helper_status; /* of the helper itself */
    char output[64 * 1024];
    size_t output_len;
};

/* Called in the helper's process before it is executed. */
typedef void box_prepare(void *arg);

void box_start(struct box *b, const char *options, const char *command);
void box_start_prepared(struct box *b, const char *options, const char *command,
                        box_prepare *prepare, void *arg);

/* Sandboxes are made first and get their command as an order then, as vmd has it in a machine that
 * is saved. Those of other profiles and host names are not made so. */
extern bool box_waits;

/* Standard input; used by tests of terminals. -1: /dev/null. */
extern int box_stdin;

void box_signal(struct box *b, int sig);

/* Reads messages until the command has started or failed to. */
void box_await_start(struct box *b);

/* Reads output until it contains the text, for at most two seconds. */
bool box_await_output(struct box *b, const char *text);

/* Reads everything, and waits for the helper. */
void box_finish(struct box *b);

/* Start and finish; fails the test unless the command ran to its end. */
void box_run(struct box *b, const char *options, const char *command);

/* What follows "name " on its line of the output, in static memory; NULL if no
 * line begins so. */
const char *box_line(const struct box *b, const char *name);

/* Fails the test unless the line is there and says this. */
void box_expect(const struct box *b, const char *name, const char *want);

const char *box_folder(void);
const char *box_probe(void);

/* True if nobody holds the lock on a file of the scratch folder, within `ms`. */
bool box_lock_free(const char *name, int ms);

/* Both return 0 for cmocka; set up once per program. Leave nothing behind. */
int box_setup(void **state);
int box_teardown(void **state);
