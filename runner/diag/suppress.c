#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/diag/render.h"
#include "runner/diag/source.h"

/* Comments are found in the text, not in the tree: libyaml drops them. So one inside a script
 * counts too, which is where warnings about scripts are best answered. */
#define MARK "# kage: ignore="

struct ignore {
    int line, col, code;
    int width;
    bool alone; /* nothing before it on its line */
    bool used;
};

struct ignores {
    const char *file;
    struct ignore *items;
    size_t n, cap;
};

static void add(struct ignores *all, const struct ignore *ignore)
{
    all->items = kage_array_grow(all->items, &all->cap, all->n + 1, sizeof(*all->items));
    all->items[all->n++] = *ignore;
}

/* K401,K303 behind the mark */
static void parse_codes(struct ignores *all, struct ignore ignore, const char *s, const char *end)
{
    int col = ignore.col;
    const char *from = s;
    while (s < end) {
        ignore.col = col + (int)(s - from);
        ignore.code = 0;
        const char *start = s;
        if (*s == 'K')
            for (s++; s < end && *s >= '0' && *s <= '9' && s - start <= 3; s++)
                ignore.code = ignore.code * 10 + (*s - '0');
        while (s < end && !strchr(", \t", *s)) {
            ignore.code = 0;
            s++;
        }
        ignore.width = (int)(s - start);
        if (ignore.width)
            add(all, &ignore);
        if (s >= end || *s != ',')
            return;
        s++;
    }
}

static void find_ignores(struct ignores *all, const struct kage_source *source)
{
    const char *line = source->text, *end = source->text + source->len;
    for (int number = 1; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        const char *mark = memmem(line, (size_t)(stop - line), MARK, strlen(MARK));
        if (mark && (mark == line || mark[-1] == ' ' || mark[-1] == '\t')) {
            int chars = 0;
            for (const char *p = line; p < mark; p++)
                chars += (*p & 0xc0) != 0x80;
            struct ignore ignore = {
                .line = number,
                .col = chars + 1 + (int)strlen(MARK),
                .alone = strspn(line, " \t") == (size_t)(mark - line),
            };
            const char *last = stop > line && stop[-1] == '\r' ? stop - 1 : stop;
            parse_codes(all, ignore, mark + strlen(MARK), last);
        }
        line = stop + 1;
    }
}

/* By what the code is, not by what this run makes of it: a comment that is right without --locked
 * is right with it. */
static bool can_be_ignored(int code)
{
    return code == K404_SECRET_IN_ENV || kage_code_find(code)->severity != KAGE_ERROR;
}

static bool is_unwanted(const struct kage_finding *f, void *user)
{
    return !kage_diags_is_wanted(user, f);
}

/* The first one on this line or behind it: they are in the order of the file. */
static size_t first_from(const struct ignores *all, int line)
{
    size_t low = 0, high = all->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (all->items[middle].line < line)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_ignored(const struct kage_finding *f, void *user)
{
    struct ignores *all = user;
    bool found = false;
    if (!f->at.loc.file || f->at.loc.file != all->file || !can_be_ignored((int)f->code))
        return false;
    for (size_t i = first_from(all, f->at.loc.line - 1); i < all->n; i++) {
        struct ignore *g = &all->items[i];
        if (g->line > f->at.loc.line)
            break;
        bool here = f->at.loc.line == g->line || (g->alone && f->at.loc.line == g->line + 1);
        if (here && g->code == (int)f->code)
            found = g->used = true;
    }
    return found;
}

/* Whether it depends on the machine if there is something to ignore. */
static bool is_about_machine(int code)
{
    return kage_diag_is_host(code) && kage_code_find(code) && can_be_ignored(code);
}

/* Takes the comment out of the text: with its line when nothing else stands there. */
static void fix_comment(struct kage_diags *diags, struct kage_finding *f,
                        const struct kage_source *source, const struct ignores *all,
                        const struct ignore *g)
{
    size_t i = (size_t)(g - all->items);
    if ((i > 0 && g[-1].line == g->line) || (i + 1 < all->n && g[1].line == g->line))
        return; /* it says other things, too */
    size_t start;
    if (!kage_source_offset((struct kage_source *)source, g->line, g->col, &start))
        return;
    while (start > 0 && source->text[start] != '#')
        start--;
    while (start > 0 && (source->text[start - 1] == ' ' || source->text[start - 1] == '\t'))
        start--;
    const char *newline = memchr(source->text + start, '\n', source->len - start);
    size_t end = newline ? (size_t)(newline - source->text) : source->len;
    if (g->alone)
        end += newline != NULL;
    else if (end > start && source->text[end - 1] == '\r')
        end--;
    kage_finding_fix_bytes(diags, f, start, end, "");
}

static void report_unused(struct kage_diags *diags, const struct kage_source *source,
                          const struct ignores *all, const struct ignore *g)
{
    struct kage_span at = {{source->name, g->line, g->col}, g->width};
    struct kage_finding *f;
    if (!kage_code_find(g->code))
        f = kage_diags_add(diags, K901_UNUSED_IGNORE, at, "there is no such code");
    else if (!can_be_ignored(g->code))
        f = kage_diags_add(diags, K901_UNUSED_IGNORE, at, "K%d cannot be ignored", g->code);
    else
        f = kage_diags_add(diags, K901_UNUSED_IGNORE, at, "nothing here is K%d", g->code);
    fix_comment(diags, f, source, all, g);
}

static void suppress(struct kage_diags *diags, const char *file, bool report)
{
    struct kage_source *source = kage_diags_source(diags, file);
    if (!source)
        return;
    struct ignores all = {.file = source->name};
    find_ignores(&all, source);
    if (all.n)
        kage_diags_remove(diags, is_ignored, &all);
    for (size_t i = 0; report && i < all.n; i++)
        if (!all.items[i].used && !is_about_machine(all.items[i].code))
            report_unused(diags, source, &all, &all.items[i]);
    free(all.items);
    kage_diags_remove(diags, is_unwanted, diags);
}

void kage_diags_suppress(struct kage_diags *diags, const char *file)
{
    suppress(diags, file, true);
}

void kage_diags_suppress_again(struct kage_diags *diags, const char *file)
{
    suppress(diags, file, false);
}
