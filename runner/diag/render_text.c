#include "runner/diag/render.h"

#include <stdlib.h>
#include <string.h>

#include "runner/diag/source.h"

/* The styles of gcc and rustc, which terminal themes are tuned for. */
struct style {
    const char *place, *severity[KAGE_SEVERITY_COUNT], *code, *caret, *gutter, *off;
};

static const struct style plain = {"", {"", "", ""}, "", "", "", ""};
static const struct style colored = {
    .place = "\033[1m",
    .severity = {"\033[1;36m", "\033[1;35m", "\033[1;31m"},
    .code = "\033[2m",
    .caret = "\033[1;32m",
    .gutter = "\033[34m",
    .off = "\033[0m",
};

/* File names come from the command line; they may hold anything. */
static void add_safe(struct kage_buf *out, const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        int cp;
        size_t bytes = kage_text_next(s + i, n - i, &cp);
        kage_text_cell(s + i, bytes, cp, out);
        i += bytes;
    }
}

static void add_place(struct kage_buf *out, const struct kage_loc *loc)
{
    add_safe(out, loc->file ? loc->file : "kage");
    if (loc->line > 0)
        kage_buf_addf(out, ":%d", loc->line);
    if (loc->line > 0 && loc->col > 0)
        kage_buf_addf(out, ":%d", loc->col);
    kage_buf_adds(out, ":");
}

static void add_headline(struct kage_buf *out, const struct style *st, const struct kage_loc *loc,
                         enum kage_severity severity, const char *message, int code)
{
    kage_buf_adds(out, st->place);
    add_place(out, loc);
    kage_buf_addf(out, "%s %s%s:%s %s", st->off, st->severity[severity],
                  kage_severity_name(severity), st->off, message);
    if (code)
        kage_buf_addf(out, " %s[K%d]%s", st->code, code, st->off);
    kage_buf_addc(out, '\n');
}

/* The source line, and below it the caret run with the help behind it. */
static void add_excerpt(struct kage_buf *out, const struct style *st, struct kage_diags *diags,
                        const struct kage_span *at, const char *help)
{
    struct kage_source *source = kage_diags_source(diags, at->loc.file);
    struct kage_buf text = {0};
    int indent = 0, cells = 0;
    int width = at->width;
    if (source && width == KAGE_SPAN_WORD)
        width = kage_source_word(source, at->loc.line, at->loc.col);
    if (source &&
        kage_source_show(source, at->loc.line, at->loc.col, width, &text, &indent, &cells)) {
        kage_buf_addf(out, "%s%5d |%s %s\n", st->gutter, at->loc.line, st->off,
                      text.data ? text.data : "");
        kage_buf_addf(out, "%s      |%s %*s%s^", st->gutter, st->off, indent, "", st->caret);
        for (int i = 1; i < cells; i++)
            kage_buf_addc(out, '~');
        kage_buf_adds(out, st->off);
        if (help)
            kage_buf_addf(out, " help: %s", help);
        kage_buf_addc(out, '\n');
    } else if (help) {
        kage_buf_addf(out, "%s      =%s help: %s\n", st->gutter, st->off, help);
    }
    kage_buf_done(&text);
}

static void add_beyond(struct kage_buf *out, struct kage_diags *diags, size_t shown)
{
    size_t all = 0;
    for (int s = 0; s < KAGE_SEVERITY_COUNT; s++)
        all += kage_diags_count(diags, s);
    if (all > shown)
        kage_buf_addf(out, "kage: note: %zu more findings are not shown\n", all - shown);
}

void kage_render_human(struct kage_diags *diags, bool color, struct kage_buf *out)
{
    const struct style *st = color ? &colored : &plain;
    size_t n;
    struct kage_finding *const *list = kage_diags_list(diags, &n);
    for (size_t i = 0; i < n; i++) {
        const struct kage_finding *f = list[i];
        add_headline(out, st, &f->at.loc, f->severity, f->message, f->code);
        add_excerpt(out, st, diags, &f->at, f->help);
        if (f->also.loc.line > 0) {
            add_headline(out, st, &f->also.loc, KAGE_NOTE, f->also_message, 0);
            add_excerpt(out, st, diags, &f->also, NULL);
        }
    }
    add_beyond(out, diags, n);
}

void kage_render_gcc(struct kage_diags *diags, struct kage_buf *out)
{
    size_t n;
    struct kage_finding *const *list = kage_diags_list(diags, &n);
    for (size_t i = 0; i < n; i++) {
        const struct kage_finding *f = list[i];
        add_place(out, &f->at.loc);
        kage_buf_addf(out, " %s: %s", kage_severity_name(f->severity), f->message);
        if (f->help)
            kage_buf_addf(out, "; %s", f->help);
        kage_buf_addf(out, " [K%d]\n", f->code);
        if (f->also.loc.line > 0) {
            add_place(out, &f->also.loc);
            kage_buf_addf(out, " note: %s\n", f->also_message);
        }
    }
    add_beyond(out, diags, n);
}
