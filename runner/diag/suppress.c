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

static bool can_be_ignored(const struct kage_finding *f)
{
    return f->severity != KAGE_ERROR;
}

static bool is_ignored(const struct kage_finding *f, void *user)
{
    struct ignores *all = user;
    bool found = false;
    if (!f->at.loc.file || f->at.loc.file != all->file || !can_be_ignored(f))
        return false;
    for (size_t i = 0; i < all->n; i++) {
        struct ignore *g = &all->items[i];
        bool here = f->at.loc.line == g->line || (g->alone && f->at.loc.line == g->line + 1);
        if (here && g->code == (int)f->code)
            found = g->used = true;
    }
    return found;
}

void kage_diags_suppress(struct kage_diags *diags, const char *file)
{
    struct kage_source *source = kage_diags_source(diags, file);
    if (!source)
        return;
    struct ignores all = {.file = source->name};
    find_ignores(&all, source);
    if (all.n)
        kage_diags_remove(diags, is_ignored, &all);
    for (size_t i = 0; i < all.n; i++) {
        const struct ignore *g = &all.items[i];
        if (g->used)
            continue;
        struct kage_span at = {{source->name, g->line, g->col}, g->width};
        if (!kage_code_find(g->code)) {
            kage_diags_add(diags, K901_UNUSED_IGNORE, at, "there is no such code");
            continue;
        }
        bool never = kage_code_find(g->code)->severity == KAGE_ERROR;
        kage_diags_add(diags, K901_UNUSED_IGNORE, at,
                       never ? "K%d cannot be ignored" : "nothing here is K%d", g->code);
    }
    free(all.items);
}
