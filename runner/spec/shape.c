#include <stdio.h>
#include <string.h>

#include "runner/spec/fix.h"
#include "runner/spec/foreign.h"
#include "runner/spec/reader.h"
#include "runner/spec/suggest.h"
#include "runner/yaml/scalar.h"

/*
 * The walk from tree to structs. Everything it knows of the language it reads from the table of
 * fields; a finding never stops it, so that one run shows all of them.
 */

/* One object while it is read. `given` has a bit for every field that was written. */
struct reading {
    enum kage_object_id id;
    const struct kage_object *object;
    const struct kage_field *fields;
    size_t n_fields;
    uint64_t given;
    const struct kage_pair *pairs[64]; /* by field */
    struct kage_span at;
    const struct kage_node *first; /* the first key */
    void *base;
};

static struct kage_span place_of(const struct kage_pair *pair)
{
    /* "commands:" stands on its line alone, and its list starts on the next: point at the word */
    return pair->value->kind == KAGE_NODE_SCALAR ? pair->value->at : pair->key->at;
}

static void put_place(void *base, size_t loc, size_t at, struct kage_span place)
{
    if (loc)
        *(struct kage_loc *)((char *)base + loc - 1) = place.loc;
    if (at)
        *(struct kage_span *)((char *)base + at - 1) = place;
}

static void read_entry(struct kage_reader *r, const struct kage_where *w,
                       const struct kage_node *node, struct kage_span at, void *out)
{
    if (w->field->type == KAGE_FIELD_OBJECT) {
        const struct kage_object *object = &kage_objects[w->field->object];
        if (node->kind != KAGE_NODE_MAP && !(object->scalar && node->kind == KAGE_NODE_SCALAR)) {
            kage_report_type(r, w, node, "a map");
            put_place(out, object->loc, object->at, at);
            return;
        }
        kage_read_object(r, w->field->object, node, at, out);
        return;
    }
    kage_decode(r, w, node, out);
}

static void report_empty(struct kage_reader *r, const struct kage_field *f,
                         const struct kage_span *at)
{
    kage_diags_add(r->diags, K208_RANGE, *at, "'%s' must have at least one item", f->name);
}

static void read_list(struct kage_reader *r, const struct kage_field *f,
                      const struct kage_node *node, struct kage_span at, void *base)
{
    const struct kage_node *const one[] = {node};
    const struct kage_node *const *items = one;
    size_t n = 1;
    if (node->kind == KAGE_NODE_LIST) {
        items = (const struct kage_node *const *)node->items;
        n = node->n;
    } else if (f->shape != KAGE_SHAPE_ONE_OR_LIST) {
        kage_report_type(r, &(struct kage_where){.field = f}, node, "a list");
        return;
    }
    if (n == 0 && f->one_inside)
        report_empty(r, f, &at);
    char **list = (char **)((char *)base + f->offset);
    size_t *count = (size_t *)((char *)base + f->count);
    struct kage_where where = {.field = f, .item = node->kind == KAGE_NODE_LIST};
    for (size_t i = 0; i < n; i++) {
        *list = kage_arena_push(r->arena, *list, *count, f->size);
        void *out = *list + *count * f->size;
        memset(out, 0, f->size);
        if (f->type == KAGE_FIELD_OBJECT)
            read_entry(r, &where, items[i], items[i]->at, out);
        else if (!kage_decode(r, &where, items[i], out))
            continue;
        if (f->item_at)
            *(struct kage_span *)((char *)out + f->item_at - 1) = items[i]->at;
        (*count)++;
    }
}

static void check_key(struct kage_reader *r, const struct kage_field *f,
                      const struct kage_node *key)
{
    const struct kage_form_rule *rule = &kage_forms[f->key_form];
    if (!rule->match || rule->match(key->text))
        return;
    struct kage_finding *finding =
        kage_diags_add(r->diags, rule->code, key->at, "'%s' in '%s' is not %s",
                       kage_diags_show(r->diags, key->text, key->len), f->name, rule->what);
    if (rule->help)
        kage_finding_help(finding, "%s", rule->help);
}

static void read_map(struct kage_reader *r, const struct kage_field *f,
                     const struct kage_node *node, void *base)
{
    if (node->kind != KAGE_NODE_MAP) {
        kage_report_type(r, &(struct kage_where){.field = f}, node, "a map");
        return;
    }
    char **list = (char **)((char *)base + f->offset);
    size_t *count = (size_t *)((char *)base + f->count);
    for (size_t i = 0; i < node->n; i++) {
        const struct kage_pair *pair = &node->pairs[i];
        struct kage_where where = {.field = f, .key = pair->key};
        check_key(r, f, pair->key);
        *list = kage_arena_push(r->arena, *list, *count, f->size);
        char *out = *list + *count * f->size;
        memset(out, 0, f->size);
        if (f->type == KAGE_FIELD_OBJECT) {
            const struct kage_object *object = &kage_objects[f->object];
            *(char **)(out + object->key) = pair->key->text;
            read_entry(r, &where, pair->value, pair->key->at, out);
        } else {
            struct kage_spec_env *env = (struct kage_spec_env *)out;
            *env = (struct kage_spec_env){.loc = place_of(pair).loc, .name = pair->key->text};
            if (!kage_decode(r, &where, pair->value, &env->value))
                continue;
        }
        (*count)++;
    }
}

static void read_field(struct kage_reader *r, const struct kage_field *f,
                       const struct kage_pair *pair, void *base)
{
    struct kage_span at = place_of(pair);
    /* the version and the matrix are read before the rest (load.c) */
    if (f->type == KAGE_FIELD_VERSION || f->type == KAGE_FIELD_MATRIX || pair->value->broken)
        return;
    put_place(base, f->loc, f->at, at);
    struct kage_where where = {.field = f};
    switch (f->shape) {
    case KAGE_SHAPE_ONE:
        read_entry(r, &where, pair->value, at, (char *)base + f->offset);
        break;
    case KAGE_SHAPE_LIST:
    case KAGE_SHAPE_ONE_OR_LIST:
        read_list(r, f, pair->value, at, base);
        break;
    case KAGE_SHAPE_MAP:
        read_map(r, f, pair->value, base);
        break;
    }
}

/* Another object that has a field of this name, for a key that went one level too high or low. */
static const struct kage_object *elsewhere(enum kage_object_id here, const char *name)
{
    for (int id = 0; id < KAGE_OBJECT_COUNT; id++) {
        const struct kage_field *f = kage_field_find((enum kage_object_id)id, name);
        if ((enum kage_object_id)id != here && f &&
            !(kage_objects[id].scalar_only && strcmp(kage_objects[id].scalar, name) == 0))
            return &kage_objects[id];
    }
    return NULL;
}

static void report_unknown(struct kage_reader *r, const struct reading *o,
                           const struct kage_node *map, const struct kage_pair *pair)
{
    const struct kage_node *key = pair->key;
    const char *shown = kage_diags_show(r->diags, key->text, key->len);
    const struct kage_foreign *foreign = kage_foreign_find(o->id, key->text);
    struct kage_finding *f;
    if (foreign) {
        f = kage_diags_add(r->diags, K211_FOREIGN_WORD, key->at,
                           "'%s' is a word of %s, not of kage", shown, foreign->tool);
        kage_finding_help(f, strchr(foreign->ours, ' ') ? "write %s" : "write '%s'", foreign->ours);
        kage_fix_foreign(r, f, foreign, map, pair);
        return;
    }
    f = kage_diags_add(r->diags, K201_UNKNOWN_KEY, key->at, "unknown key '%s' in %s", shown,
                       o->object->name);
    struct kage_suggestion s = {0};
    for (size_t i = 0; i < o->n_fields; i++)
        if (!(o->object->scalar_only && strcmp(o->fields[i].name, o->object->scalar) == 0))
            kage_suggest(&s, key->text, o->fields[i].name, o->fields[i].name);
    kage_foreign_suggest(o->id, key->text, &s);
    const struct kage_object *other = s.best ? NULL : elsewhere(o->id, key->text);
    if (o->object->scalar_only && strcmp(key->text, o->object->scalar) == 0)
        kage_finding_help(f, "write '%s: NAME'", o->object->name);
    else if (s.best)
        kage_finding_help(f, "did you mean '%s'?", s.best);
    else if (other)
        kage_finding_help(f, "'%s' belongs in '%s'", shown, other->name);
    if (kage_suggestion_is_certain(&s))
        kage_fix_key(r, f, o->id, map, pair, s.best);
}

static void read_pairs(struct kage_reader *r, struct reading *o, const struct kage_node *map)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct kage_pair *pair = &map->pairs[i];
        const struct kage_field *f = kage_field_find(o->id, pair->key->text);
        if (f && o->object->scalar_only && strcmp(f->name, o->object->scalar) == 0)
            f = NULL;
        if (!f) {
            bool extension = o->id == KAGE_OBJECT_JOB && strncmp(pair->key->text, "x-", 2) == 0;
            if (!extension)
                report_unknown(r, o, map, pair);
            continue;
        }
        size_t index = (size_t)(f - o->fields);
        o->given |= UINT64_C(1) << index;
        o->pairs[index] = pair;
        read_field(r, f, pair, o->base);
    }
}

static bool is_given(const struct reading *o, const char *name)
{
    const struct kage_field *f = kage_field_find(o->id, name);
    return f && (o->given >> (f - o->fields) & 1);
}

static const struct kage_pair *pair_of(const struct reading *o, const char *name)
{
    const struct kage_field *f = kage_field_find(o->id, name);
    return f ? o->pairs[f - o->fields] : NULL;
}

/* The form chosen by a word, or by the one key that is there. NULL if none is, or several are. */
static const struct kage_object_form *find_form(struct kage_reader *r, const struct reading *o)
{
    const struct kage_object_form *found = NULL;
    if (o->object->discriminator) {
        const struct kage_pair *pair = pair_of(o, o->object->discriminator);
        for (const struct kage_object_form *f = o->object->forms; pair && f->bit; f++)
            if (pair->value->kind == KAGE_NODE_SCALAR && strcmp(pair->value->text, f->word) == 0)
                found = f;
        return found;
    }
    bool several = false;
    for (const struct kage_object_form *f = o->object->forms; f->bit; f++) {
        if (!is_given(o, f->key))
            continue;
        if (found) {
            several = true;
            const struct kage_node *a = pair_of(o, found->key)->key, *b = pair_of(o, f->key)->key;
            bool swap = b->at.loc.line < a->at.loc.line;
            struct kage_finding *finding =
                kage_diags_add(r->diags, K204_EXCLUSIVE, (swap ? a : b)->at,
                               "'%s' and '%s' exclude each other", found->key, f->key);
            kage_finding_also(finding, (swap ? b : a)->at, "the other one is here");
        } else {
            found = f;
        }
    }
    if (found || several)
        return several ? NULL : found;
    struct kage_buf keys = {0};
    const struct kage_object_form *f = o->object->forms;
    for (; f->bit; f++) {
        if (o->object->scalar_only && strcmp(f->key, o->object->scalar) == 0)
            continue;
        kage_buf_addf(&keys, "%s'%s'", !keys.len ? "" : f[1].bit ? ", " : " or ", f->key);
    }
    kage_diags_add(r->diags, K202_MISSING_KEY, o->at, "%s has no %s", o->object->name, keys.data);
    kage_buf_done(&keys);
    return NULL;
}

static void check_forms(struct kage_reader *r, const struct reading *o)
{
    if (!o->object->forms)
        return;
    const struct kage_object_form *form = find_form(r, o);
    if (!form)
        return;
    const char *label = form->key ? form->key : form->word;
    for (size_t i = 0; i < o->n_fields; i++) {
        const struct kage_field *f = &o->fields[i];
        if (!(o->given >> i & 1) || !f->forms || (f->forms & form->bit))
            continue;
        kage_diags_add(r->diags, K204_EXCLUSIVE, o->pairs[i]->key->at,
                       "'%s' does not go with %s'%s'", f->name, form->key ? "" : "type ", label);
    }
    if (form->needed && !is_given(o, form->needed))
        kage_diags_add(r->diags, K202_MISSING_KEY, o->at, "%s of type '%s' has no '%s'",
                       o->object->name, label, form->needed);
}

static void apply_default(struct kage_reader *r, const struct reading *o,
                          const struct kage_field *f)
{
    if (f->loc)
        *(struct kage_loc *)((char *)o->base + f->loc - 1) = o->at.loc;
    if (f->type == KAGE_FIELD_OBJECT && f->shape == KAGE_SHAPE_ONE) {
        kage_read_object(r, f->object, NULL, o->at, (char *)o->base + f->offset);
        return;
    }
    if (!f->fallback)
        return;
    struct kage_node node = {.kind = KAGE_NODE_SCALAR,
                             .at = o->at,
                             .text = kage_arena_strdup(r->arena, f->fallback),
                             .len = strlen(f->fallback)};
    if (f->shape == KAGE_SHAPE_ONE)
        kage_decode(r, &(struct kage_where){.field = f}, &node, (char *)o->base + f->offset);
    else
        read_list(r, f, &node, o->at, o->base);
}

static void finish(struct kage_reader *r, const struct reading *o, bool present)
{
    for (size_t i = 0; i < o->n_fields; i++) {
        const struct kage_field *f = &o->fields[i];
        if (o->given >> i & 1)
            continue;
        if (f->required && present) {
            struct kage_finding *finding = kage_diags_add(
                r->diags, K202_MISSING_KEY, o->at, "%s has no '%s'", o->object->name, f->name);
            if (f->type == KAGE_FIELD_VERSION) {
                kage_finding_help(finding, "start the file with 'version: 1'");
                /* in front of the first key; inside { } that is no line of its own */
                if (o->first && o->first->at.loc.col == 1)
                    kage_finding_fix_between(r->diags, finding, o->first->at, "version: 1\n");
            }
        }
        apply_default(r, o, f);
    }
}

void kage_read_object(struct kage_reader *r, enum kage_object_id id, const struct kage_node *node,
                      struct kage_span at, void *base)
{
    struct reading o = {.id = id, .object = &kage_objects[id], .at = at, .base = base};
    o.fields = kage_fields(id, &o.n_fields);
    _Static_assert(sizeof(o.pairs) / sizeof(o.pairs[0]) == 64, "one bit of 'given' for each");
    put_place(base, o.object->loc, o.object->at, at);
    if (node && node->kind == KAGE_NODE_SCALAR) {
        const struct kage_field *f = kage_field_find(id, o.object->scalar);
        o.given = UINT64_C(1) << (f - o.fields);
        struct kage_where where = {.field = f, .label = o.object->name};
        kage_decode(r, &where, node, (char *)base + f->offset);
        finish(r, &o, false);
        return;
    }
    if (node) {
        o.first = node->n ? node->pairs[0].key : NULL;
        read_pairs(r, &o, node);
        check_forms(r, &o);
    }
    finish(r, &o, node != NULL);
}
