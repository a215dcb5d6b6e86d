#pragma once

#include <stdbool.h>
#include <stddef.h>

enum kage_severity { KAGE_NOTE, KAGE_WARNING, KAGE_ERROR, KAGE_SEVERITY_COUNT };

/* K101_TAB = 101, …: the number stands at every place that reports it. */
enum kage_diag_code {
#define KAGE_CODE(number, name, severity, title, why, bad, good) K##number##_##name = number,
#include "schemas/diagnostics.def"
#undef KAGE_CODE
};

struct kage_code {
    int number;
    enum kage_severity severity;
    const char *title; /* what is wrong, without the particulars */
    const char *why;   /* why it matters */
    const char *bad;   /* an example of it */
    const char *good;  /* the example done right */
};

/* The whole registry, in ascending order. */
const struct kage_code *kage_codes(size_t *n);

/* NULL for a number that is not in the registry. */
const struct kage_code *kage_code_find(int number);

/* Is the code about the machine that kage runs on, and not about the spec? */
static inline bool kage_diag_is_host(int code)
{
    return code / 100 == 6;
}

const char *kage_severity_name(enum kage_severity severity); /* "error", "warning", "note" */
