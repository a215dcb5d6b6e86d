#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/diag/render.h"
#include "runner/diag/source.h"

/* Edits taken so far, by where they start. */
struct taken {
    struct kage_edit *items; /* borrowed texts */
    size_t n, cap;
};

/* Two insertions at one place touch each other as well: which comes first is nobody's guess. */
static bool is_free(const struct taken *taken, const struct kage_edit *e)
{
    for (size_t i = 0; i < taken->n; i++)
        if (e->start <= taken->items[i].end && taken->items[i].start <= e->end)
            return false;
    return true;
}

static int by_start(const void *a, const void *b)
{
    const struct kage_edit *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* The edits of one finding are taken together or not at all. */
static bool take(struct taken *taken, const struct kage_finding *f)
{
    for (size_t i = 0; i < f->n_edits; i++)
        if (!is_free(taken, &f->edits[i]))
            return false;
    for (size_t i = 0; i < f->n_edits; i++) {
        taken->items =
            kage_array_grow(taken->items, &taken->cap, taken->n + 1, sizeof(*taken->items));
        taken->items[taken->n++] = f->edits[i];
    }
    return f->n_edits > 0;
}

char *kage_diags_apply(struct kage_diags *diags, const char *file, size_t *ret_len,
                       size_t *ret_fixed)
{
    struct kage_source *source = kage_diags_source(diags, file);
    struct taken taken = {0};
    size_t n, fixed = 0;
    struct kage_finding *const *list = kage_diags_list(diags, &n);
    for (size_t i = 0; source && i < n; i++)
        if (list[i]->at.loc.file == source->name)
            fixed += take(&taken, list[i]);
    if (!fixed) {
        free(taken.items);
        return NULL;
    }
    qsort(taken.items, taken.n, sizeof(*taken.items), by_start);
    struct kage_buf out = {0};
    size_t done = 0;
    for (size_t i = 0; i < taken.n; i++) {
        const struct kage_edit *e = &taken.items[i];
        kage_buf_add(&out, source->text + done, e->start - done);
        kage_buf_adds(&out, e->text);
        done = e->end;
    }
    kage_buf_add(&out, source->text + done, source->len - done);
    free(taken.items);
    *ret_len = out.len;
    *ret_fixed = fixed;
    return kage_buf_take(&out);
}
