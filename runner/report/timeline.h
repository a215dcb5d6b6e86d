#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "runner/plan/plan.h"

struct kage_result;

/*
 * Where the time of a run went: spans of kage and QEMU on the host, and of the
 * kernel, vmd and the commands in the guest, on the host's monotonic clock.
 */
enum kage_side {
    KAGE_SIDE_HOST,
    KAGE_SIDE_GUEST,
};

struct kage_span {
    char *name;
    enum kage_side side;
    uint64_t start_us, end_us; /* as kage_now_us() */
};

struct kage_timeline {
    struct kage_span *spans; /* in the order in which they ended */
    size_t n, cap;
};

/* `name` is copied. A span that ends before it starts has no length: clocks of two machines are
 * compared to within a message's way. */
void kage_timeline_add(struct kage_timeline *t, enum kage_side side, const char *name,
                       uint64_t start_us, uint64_t end_us);
void kage_timeline_done(struct kage_timeline *t);

/* A table for people: when each span began, counted from the first, and how long it took. */
void kage_timeline_print(const struct kage_timeline *t, const char *title, struct kage_buf *to);

/* Writes the spans of all jobs in the Trace Event Format, which Perfetto and Chrome's tracing page
 * show. There is one result for each plan. */
int kage_timelines_write(const char *path, const struct kage_plans *plans,
                         const struct kage_result *results, struct kage_error *err);
