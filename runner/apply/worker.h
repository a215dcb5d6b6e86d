#pragma once

#include <sys/types.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "runner/image/image.h"
#include "runner/plan/plan.h"
#include "runner/report/result.h"
#include "runner/session/run.h"

enum { KAGE_WORKER_OUT, KAGE_WORKER_ERR, KAGE_WORKER_REPORT, KAGE_WORKER_ENDS };

/* The process that runs one job: its number, a pidfd, and the reading ends of three pipes, which do
 * not block. All are the caller's. */
struct kage_worker {
    pid_t pid;
    int pidfd;
    int ends[KAGE_WORKER_ENDS];
};

/*
 * Forks a process that runs the plan with its standard streams in pipes and sends the result
 * through the third. It dies with this process, and its QEMU with it. It is in a process group of
 * its own, so that the terminal's ^C reaches it only through kage. `mask` is what its signal mask
 * shall be.
 */
int kage_worker_start(const struct kage_plan *plan, const struct kage_image_files *files,
                      const struct kage_run_options *options, const sigset_t *mask,
                      struct kage_worker *ret, struct kage_error *err);

/* The result of a worker that ended with `status` after sending `report`: what it sent, or what
 * became of it when that is no result. `signo`: what it was told to end with, 0 for nothing. */
void kage_worker_judge(const struct kage_plan *plan, int status, const struct kage_buf *report,
                       int signo, struct kage_result *ret);
