#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "runner/diag/registry.h"

/* A run of characters in a file. */
struct kage_span {
    struct kage_loc loc;
    int width; /* in code points, all on the one line */
};

/* As a width: the word or quoted text that starts there, as far as it goes on its line. */
#define KAGE_SPAN_WORD 0

struct kage_finding {
    enum kage_diag_code code;
    enum kage_severity severity;
    struct kage_span at;
    char *message;
    char *help;            /* what to do about it; may be NULL */
    struct kage_span also; /* a second place that explains the first; line 0: none */
    char *also_message;
    size_t order; /* keeps findings at one place in the order they were made */
};

/*
 * Collects findings of any number of files. It keeps a copy of every file's text, so that
 * findings can be shown after everything else about the file is gone.
 */
struct kage_diags;

struct kage_diags *kage_diags_new(void);
void kage_diags_free(struct kage_diags *diags);
void kage_diags_freep(struct kage_diags **diags);

/* Registers a file. Returns its name, owned by diags: what locations in it should carry. */
const char *kage_diags_file(struct kage_diags *diags, const char *name, const char *text,
                            size_t len);

/* Adds a finding. The result is owned by diags and can be given help or a second place at once.
 * The same finding at the same place is kept once. */
struct kage_finding *kage_diags_add(struct kage_diags *diags, enum kage_diag_code code,
                                    struct kage_span at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void kage_finding_help(struct kage_finding *finding, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void kage_finding_also(struct kage_finding *finding, struct kage_span at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Looks for a text on one line of a file. Returns false, leaving *ret alone, if it is not there. */
bool kage_diags_find(struct kage_diags *diags, const char *file, int line, const char *text,
                     size_t len, struct kage_span *ret);

/* A short copy of s, made safe to print, that lives as long as diags: for messages that quote
 * the file. */
const char *kage_diags_show(struct kage_diags *diags, const char *s, size_t n);

/* Applies the comments `# kage: ignore=K401,K303 -- reason` of a file to its findings: each goes
 * for its own line and, when it stands alone, for the one below. A comment that has no effect is
 * itself a finding. Only warnings and notes can be ignored: a spec with an error in it would not do
 * what it says. */
void kage_diags_suppress(struct kage_diags *diags, const char *file);

/* How many findings of this severity there are, those beyond the limit included. */
size_t kage_diags_count(const struct kage_diags *diags, enum kage_severity severity);

/* Findings sorted by file, line and column. */
struct kage_finding *const *kage_diags_list(struct kage_diags *diags, size_t *n);

enum kage_format { KAGE_FORMAT_HUMAN, KAGE_FORMAT_GCC, KAGE_FORMAT_JSON, KAGE_FORMAT_GITHUB };

/* "human", "gcc", "json", "github". Returns -1 for anything else. */
int kage_format_parse(const char *word, enum kage_format *ret);

void kage_diags_render(struct kage_diags *diags, enum kage_format format, bool color,
                       struct kage_buf *out);
