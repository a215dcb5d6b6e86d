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

/* A replacement of some bytes of the file a finding is in. */
struct kage_edit {
    size_t start, end;
    char *text;
};

struct kage_finding {
    enum kage_diag_code code;
    enum kage_severity severity;
    struct kage_span at;
    char *message;
    char *help;            /* what to do about it; may be NULL */
    struct kage_span also; /* a second place that explains the first; line 0: none */
    char *also_message;
    struct kage_edit *edits; /* together they settle the finding; none: nobody can be sure how */
    size_t n_edits;
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

/* Adds an edit to a finding: what its span, or some bytes, of the file become. Only for cures that
 * cannot be wrong: `kage check --fix` applies them without asking. */
void kage_finding_fix(struct kage_diags *diags, struct kage_finding *finding, struct kage_span at,
                      const char *text);
/* The same where the span holds the word `old`, quoted or not; nothing where it holds anything
 * else, because the word came from a variable or the text has escapes. */
void kage_finding_fix_word(struct kage_diags *diags, struct kage_finding *finding,
                           struct kage_span at, const char *old, const char *text);
/* An insertion at a place of no width. */
void kage_finding_fix_between(struct kage_diags *diags, struct kage_finding *finding,
                              struct kage_span at, const char *text);
void kage_finding_fix_bytes(struct kage_diags *diags, struct kage_finding *finding, size_t start,
                            size_t end, const char *text);

/* Applies the fixes of a file's findings to its text, leaving out those that touch one already
 * taken. Returns the new text and how many findings it settles; NULL if none can be. */
char *kage_diags_apply(struct kage_diags *diags, const char *file, size_t *ret_len,
                       size_t *ret_fixed);

/* Reports this code as something else than the registry says; as KAGE_SEVERITY_OFF, not at all.
 * Before any finding is added. */
#define KAGE_SEVERITY_OFF KAGE_SEVERITY_COUNT
void kage_diags_set_severity(struct kage_diags *diags, int code, enum kage_severity severity);

/* Notes are advice that few specs follow to the letter: they are left out unless asked for. */
void kage_diags_want_notes(struct kage_diags *diags, bool wanted);

/* The bytes of a span; NULL if there are none. */
const char *kage_diags_text(struct kage_diags *diags, const struct kage_span *at, size_t *ret_len);

/* Looks for a text on one line of a file. Returns false, leaving *ret alone, if it is not there. */
bool kage_diags_find(struct kage_diags *diags, const char *file, int line, const char *text,
                     size_t len, struct kage_span *ret);

/* A short copy of s, made safe to print, that lives as long as diags: for messages that quote
 * the file. */
const char *kage_diags_show(struct kage_diags *diags, const char *s, size_t n);

/* Applies the comments `# kage: ignore=K401,K303 -- reason` of a file to its findings: each goes
 * for its own line and, when it stands alone, for the one below. A comment that has no effect is
 * itself a finding. Errors cannot be ignored, as a spec with one in it would not do what it says;
 * K404, which such a spec survives, is the exception. Then notes go that nobody asked for, and
 * whatever was switched off. */
void kage_diags_suppress(struct kage_diags *diags, const char *file);

/* The same for findings that were added after that: those about this machine (6xx). Notes among
 * them stay, as they were asked for; and a comment about one of them is never without effect, as it
 * is meant for other machines as well. */
void kage_diags_suppress_again(struct kage_diags *diags, const char *file);

/* How many findings of this severity there are, those beyond the limit included. */
size_t kage_diags_count(const struct kage_diags *diags, enum kage_severity severity);

/* Findings sorted by file, line and column. */
struct kage_finding *const *kage_diags_list(struct kage_diags *diags, size_t *n);

enum kage_format {
    KAGE_FORMAT_HUMAN,
    KAGE_FORMAT_GCC,
    KAGE_FORMAT_JSON,
    KAGE_FORMAT_GITHUB,
    KAGE_FORMAT_SARIF,
    KAGE_FORMAT_COUNT,
};

/* "human", "gcc", "json", "github", "sarif". Returns -1 for anything else. */
int kage_format_parse(const char *word, enum kage_format *ret);

void kage_diags_render(struct kage_diags *diags, enum kage_format format, bool color,
                       struct kage_buf *out);
