#include "runner/diag/diag.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/diag/render.h"
#include "runner/diag/source.h"

/* Nobody reads more, and a hostile file could make any number of them. */
#define MAX_FINDINGS 1000
/* Code points of the file quoted in one message. */
#define MAX_SHOWN 60

struct kage_diags {
    struct kage_finding **items;
    size_t n, cap;
    bool sorted;
    struct kage_finding spill; /* takes what is beyond the limit */
    size_t counts[KAGE_SEVERITY_COUNT];
    struct kage_source **files;
    size_t n_files, cap_files;
    char **shown;
    size_t n_shown, cap_shown;
    unsigned char severities[1000]; /* by code; 0: as in the registry, else one more */
    bool notes;
};

struct kage_diags *kage_diags_new(void)
{
    return kage_alloc(sizeof(struct kage_diags));
}

static void finding_done(struct kage_finding *f)
{
    free(f->message);
    free(f->help);
    free(f->also_message);
    for (size_t i = 0; i < f->n_edits; i++)
        free(f->edits[i].text);
    free(f->edits);
    *f = (struct kage_finding){0};
}

void kage_diags_free(struct kage_diags *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n; i++) {
        finding_done(d->items[i]);
        free(d->items[i]);
    }
    finding_done(&d->spill);
    free(d->items);
    for (size_t i = 0; i < d->n_files; i++) {
        kage_source_done(d->files[i]);
        free(d->files[i]);
    }
    free(d->files);
    for (size_t i = 0; i < d->n_shown; i++)
        free(d->shown[i]);
    free(d->shown);
    free(d);
}

void kage_diags_freep(struct kage_diags **diags)
{
    kage_diags_free(*diags);
    *diags = NULL;
}

const char *kage_diags_file(struct kage_diags *d, const char *name, const char *text, size_t len)
{
    struct kage_source *source = kage_alloc(sizeof(*source));
    kage_source_init(source, name, text, len);
    d->files = kage_array_grow(d->files, &d->cap_files, d->n_files + 1, sizeof(*d->files));
    d->files[d->n_files++] = source;
    return source->name;
}

/* The latest file of that name: its text is the one being judged. */
static size_t file_index(const struct kage_diags *d, const char *name)
{
    for (size_t i = d->n_files; name && i-- > 0;)
        if (d->files[i]->name == name || strcmp(d->files[i]->name, name) == 0)
            return i;
    return SIZE_MAX;
}

struct kage_source *kage_diags_source(struct kage_diags *d, const char *name)
{
    size_t i = file_index(d, name);
    return i == SIZE_MAX ? NULL : d->files[i];
}

/* Locations borrow the name of their file from whoever made them; findings live longer. */
static void adopt(struct kage_diags *d, struct kage_span *at)
{
    size_t i = file_index(d, at->loc.file);
    at->loc.file = i == SIZE_MAX ? NULL : d->files[i]->name;
    if (i != SIZE_MAX && at->width == KAGE_SPAN_WORD && at->loc.line > 0)
        at->width = kage_source_word(d->files[i], at->loc.line, at->loc.col);
}

static bool same_finding(const struct kage_finding *a, const struct kage_finding *b)
{
    return a->code == b->code && a->at.loc.line == b->at.loc.line &&
           a->at.loc.col == b->at.loc.col && a->at.loc.file == b->at.loc.file &&
           strcmp(a->message, b->message) == 0;
}

void kage_diags_set_severity(struct kage_diags *d, int code, enum kage_severity severity)
{
    d->severities[code] = (unsigned char)(severity + 1);
}

void kage_diags_want_notes(struct kage_diags *d, bool wanted)
{
    d->notes = wanted;
}

/* A code that is switched off keeps its severity until the comments that ignore it have been
 * matched; see kage_diags_suppress(). */
static enum kage_severity severity_of(const struct kage_diags *d, enum kage_diag_code code)
{
    unsigned char own = d->severities[code];
    if (own && own - 1 != KAGE_SEVERITY_OFF)
        return (enum kage_severity)(own - 1);
    return kage_code_find(code)->severity;
}

bool kage_diags_is_wanted(const struct kage_diags *d, const struct kage_finding *f)
{
    return d->severities[f->code] != KAGE_SEVERITY_OFF + 1 &&
           (f->severity != KAGE_NOTE || d->notes || kage_diag_is_host((int)f->code));
}

struct kage_finding *kage_diags_add(struct kage_diags *d, enum kage_diag_code code,
                                    struct kage_span at, const char *fmt, ...)
{
    finding_done(&d->spill);
    if (d->n >= MAX_FINDINGS) { /* counted, and cheap however many there are */
        d->spill = (struct kage_finding){.code = code, .severity = severity_of(d, code)};
        d->counts[d->spill.severity]++;
        return &d->spill;
    }
    struct kage_buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    kage_buf_vaddf(&text, fmt, ap);
    va_end(ap);

    struct kage_finding f = {
        .code = code,
        .severity = severity_of(d, code),
        .at = at,
        .message = kage_buf_take(&text),
        .order = d->n,
    };
    adopt(d, &f.at);
    for (size_t i = 0; i < d->n; i++) {
        if (same_finding(d->items[i], &f)) {
            d->spill = f;
            return &d->spill;
        }
    }
    d->counts[f.severity]++;
    d->items = kage_array_grow(d->items, &d->cap, d->n + 1, sizeof(struct kage_finding *));
    d->items[d->n] = kage_memdup(&f, sizeof(f));
    d->sorted = false;
    return d->items[d->n++];
}

void kage_finding_help(struct kage_finding *f, const char *fmt, ...)
{
    struct kage_buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    kage_buf_vaddf(&text, fmt, ap);
    va_end(ap);
    free(f->help);
    f->help = kage_buf_take(&text);
}

void kage_finding_also(struct kage_finding *f, struct kage_span at, const char *fmt, ...)
{
    struct kage_buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    kage_buf_vaddf(&text, fmt, ap);
    va_end(ap);
    free(f->also_message);
    f->also_message = kage_buf_take(&text);
    f->also = at;
    f->also.loc.file = f->at.loc.file;
}

void kage_finding_fix_bytes(struct kage_diags *d, struct kage_finding *f, size_t start, size_t end,
                            const char *text)
{
    if (f == &d->spill) /* nobody will see it */
        return;
    f->edits = kage_realloc(f->edits, (f->n_edits + 1) * sizeof(*f->edits));
    f->edits[f->n_edits++] = (struct kage_edit){start, end, kage_strdup(text)};
}

const char *kage_diags_text(struct kage_diags *d, const struct kage_span *at, size_t *ret_len)
{
    struct kage_source *source = kage_diags_source(d, at->loc.file);
    size_t start, end;
    if (!source || !kage_source_offset(source, at->loc.line, at->loc.col, &start) ||
        !kage_source_offset(source, at->loc.line, at->loc.col + at->width, &end))
        return NULL;
    *ret_len = end - start;
    return source->text + start;
}

void kage_finding_fix(struct kage_diags *d, struct kage_finding *f, struct kage_span at,
                      const char *text)
{
    struct kage_source *source = kage_diags_source(d, at.loc.file);
    size_t start, end;
    if (!source || !kage_source_offset(source, at.loc.line, at.loc.col, &start) ||
        !kage_source_offset(source, at.loc.line, at.loc.col + at.width, &end))
        return;
    kage_finding_fix_bytes(d, f, start, end, text);
}

void kage_finding_fix_between(struct kage_diags *d, struct kage_finding *f, struct kage_span at,
                              const char *text)
{
    struct kage_source *source = kage_diags_source(d, at.loc.file);
    size_t start;
    if (source && kage_source_offset(source, at.loc.line, at.loc.col, &start))
        kage_finding_fix_bytes(d, f, start, start, text);
}

void kage_finding_fix_word(struct kage_diags *d, struct kage_finding *f, struct kage_span at,
                           const char *old, const char *text)
{
    struct kage_source *source = kage_diags_source(d, at.loc.file);
    size_t start, end, n = strlen(old);
    if (!source || !kage_source_offset(source, at.loc.line, at.loc.col, &start))
        return;
    if (at.width == KAGE_SPAN_WORD)
        at.width = kage_source_word(source, at.loc.line, at.loc.col);
    if (!kage_source_offset(source, at.loc.line, at.loc.col + at.width, &end))
        return;
    const char *s = source->text + start;
    if (end - start == n + 2 && (*s == '"' || *s == '\'') && s[n + 1] == *s) {
        start++;
        end--;
        s++;
    }
    if (end - start == n && memcmp(s, old, n) == 0)
        kage_finding_fix_bytes(d, f, start, end, text);
}

bool kage_diags_find(struct kage_diags *d, const char *file, int line, const char *text, size_t len,
                     struct kage_span *ret)
{
    struct kage_source *source = kage_diags_source(d, file);
    int col = source ? kage_source_find(source, line, text, len) : 0;
    if (col > 0)
        *ret = (struct kage_span){{source->name, line, col}, (int)len};
    return col > 0;
}

const char *kage_diags_show(struct kage_diags *d, const char *s, size_t n)
{
    struct kage_buf text = {0};
    size_t i = 0;
    if (d->n >= MAX_FINDINGS) /* nobody will see it */
        return "";
    for (int seen = 0; i < n && seen < MAX_SHOWN; seen++) {
        int cp;
        size_t bytes = kage_text_next(s + i, n - i, &cp);
        if (cp == '\n')
            kage_buf_adds(&text, "\\n");
        else
            kage_text_cell(s + i, bytes, cp, &text);
        i += bytes;
    }
    if (i < n)
        kage_buf_adds(&text, "…");
    d->shown = kage_array_grow(d->shown, &d->cap_shown, d->n_shown + 1, sizeof(*d->shown));
    return d->shown[d->n_shown++] = kage_buf_take(&text);
}

size_t kage_diags_count(const struct kage_diags *d, enum kage_severity severity)
{
    return d->counts[severity];
}

void kage_diags_remove(struct kage_diags *d,
                       bool (*gone)(const struct kage_finding *finding, void *user), void *user)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (!gone(d->items[i], user)) {
            d->items[kept++] = d->items[i];
            continue;
        }
        d->counts[d->items[i]->severity]--;
        finding_done(d->items[i]);
        free(d->items[i]);
    }
    d->n = kept;
}

static int by_place(const void *a, const void *b, void *user)
{
    const struct kage_finding *x = *(struct kage_finding *const *)a;
    const struct kage_finding *y = *(struct kage_finding *const *)b;
    if (x->at.loc.file != y->at.loc.file) {
        size_t fx = file_index(user, x->at.loc.file), fy = file_index(user, y->at.loc.file);
        if (fx != fy)
            return fx < fy ? -1 : 1;
    }
    if (x->at.loc.line != y->at.loc.line)
        return x->at.loc.line < y->at.loc.line ? -1 : 1;
    if (x->at.loc.col != y->at.loc.col)
        return x->at.loc.col < y->at.loc.col ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

struct kage_finding *const *kage_diags_list(struct kage_diags *d, size_t *n)
{
    if (!d->sorted && d->n)
        qsort_r(d->items, d->n, sizeof(struct kage_finding *), by_place, d);
    d->sorted = true;
    *n = d->n;
    return d->items;
}

int kage_format_parse(const char *word, enum kage_format *ret)
{
    static const char *const names[] = {
        [KAGE_FORMAT_HUMAN] = "human",   [KAGE_FORMAT_GCC] = "gcc",     [KAGE_FORMAT_JSON] = "json",
        [KAGE_FORMAT_GITHUB] = "github", [KAGE_FORMAT_SARIF] = "sarif",
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == KAGE_FORMAT_COUNT, "a name is missing");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(word, names[i]) == 0) {
            *ret = (enum kage_format)i;
            return 0;
        }
    }
    return -1;
}

void kage_diags_render(struct kage_diags *d, enum kage_format format, bool color,
                       struct kage_buf *out)
{
    switch (format) {
    case KAGE_FORMAT_HUMAN:
        kage_render_human(d, color, out);
        break;
    case KAGE_FORMAT_GCC:
        kage_render_gcc(d, out);
        break;
    case KAGE_FORMAT_JSON:
        kage_render_json(d, out);
        break;
    case KAGE_FORMAT_GITHUB:
        kage_render_github(d, out);
        break;
    case KAGE_FORMAT_SARIF:
        kage_render_sarif(d, out);
        break;
    case KAGE_FORMAT_COUNT:
        break;
    }
}
