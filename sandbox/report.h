#pragma once

#include "common/proto/sandbox.h"

/* Why a step failed: an errno and what was being done, in static text. */
struct kage_failure {
    int errnum;
    const char *doing;
};

/* Sets *f and returns -1. */
int kage_failure_set(struct kage_failure *f, int errnum, const char *doing);

/* One datagram to vmd. Lost if vmd is gone; it then does not matter. */
void kage_report(int status_fd, enum kage_sandbox_msg_kind kind, int value, const char *text);

/* Both return the exit code that the helper then ends with. Without a status
 * socket (-1) they print a line on standard error. */
int kage_report_setup_failed(int status_fd, const struct kage_failure *f);
int kage_report_exec_failed(int status_fd, int errnum, const char *command);

/* The same for a command line that is wrong; arg may be NULL. */
int kage_report_usage(int status_fd, const char *why, const char *arg);

/* Prints the text on standard output. */
int kage_report_help(const char *text);

/* The shell's way of writing a wait status: the exit code, or 128 + signal. */
int kage_exit_code(int wait_status);

enum { KAGE_EXIT_SETUP = 125, KAGE_EXIT_NOT_EXECUTABLE = 126, KAGE_EXIT_NOT_FOUND = 127 };
