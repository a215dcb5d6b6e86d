#include "runner/lsp/features.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/diag/registry.h"
#include "runner/lsp/context.h"
#include "runner/spec/fields.h"
#include "runner/yaml/tree.h"

/* Completion, hover, definitions and symbols: the table of fields, and the names a spec gives. */

enum { ITEM_PROPERTY = 10, ITEM_VALUE = 12, ITEM_ENUM = 20, ITEM_REFERENCE = 18 };

static const struct kage_node *value_of(const struct kage_node *map, const char *key)
{
    const struct kage_pair *pair =
        map && map->kind == KAGE_NODE_MAP ? kage_node_find(map, key) : NULL;
    return pair ? pair->value : NULL;
}

struct completion {
    cJSON *list;
    const struct kage_documents *all;
    struct kage_document *doc;
    size_t start, end;
};

static void offer(struct completion *c, int kind, const char *label, const char *insert,
                  const char *doc)
{
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "label", label);
    cJSON_AddNumberToObject(item, "kind", kind);
    if (doc)
        cJSON_AddStringToObject(item, "documentation", doc);
    cJSON *edit = cJSON_AddObjectToObject(item, "textEdit");
    cJSON_AddItemToObject(edit, "range", kage_document_range(c->all, c->doc, c->start, c->end));
    cJSON_AddStringToObject(edit, "newText", insert);
    cJSON_AddItemToArray(c->list, item);
}

static void offer_keys(struct completion *c, enum kage_object_id id)
{
    const struct kage_object *o = &kage_objects[id];
    size_t n;
    const struct kage_field *fields = kage_fields(id, &n);
    bool colon = c->end < c->doc->source.len && c->doc->source.text[c->end] == ':';
    for (size_t i = 0; i < n; i++) {
        const struct kage_field *f = &fields[i];
        if (o->scalar_only && strcmp(f->name, o->scalar) == 0)
            continue;
        bool block = f->shape == KAGE_SHAPE_LIST || f->shape == KAGE_SHAPE_MAP ||
                     (f->type == KAGE_FIELD_OBJECT && !kage_objects[f->object].scalar);
        KAGE_CLEANUP(kage_freep)
        char *insert = kage_asprintf("%s%s", f->name, colon ? "" : block ? ":" : ": ");
        offer(c, ITEM_PROPERTY, f->name, insert, f->doc);
    }
}

static void offer_names(struct completion *c, const char *map)
{
    const struct kage_node *names = value_of(c->doc->root, map);
    for (size_t i = 0; names && names->kind == KAGE_NODE_MAP && i < names->n; i++)
        offer(c, ITEM_REFERENCE, names->pairs[i].key->text, names->pairs[i].key->text, NULL);
}

static void offer_values(struct completion *c, const struct kage_field *f)
{
    if (f->type == KAGE_FIELD_OBJECT && kage_objects[f->object].scalar)
        f = kage_field_find(f->object, kage_objects[f->object].scalar);
    for (const struct kage_word *w = f->words; w && w->word; w++)
        if (strcmp(w->word, "true") != 0 && strcmp(w->word, "false") != 0)
            offer(c, ITEM_ENUM, w->word, w->word, NULL);
    if (f->type == KAGE_FIELD_BOOL) {
        offer(c, ITEM_ENUM, "true", "true", NULL);
        offer(c, ITEM_ENUM, "false", "false", NULL);
    }
    if (f->type == KAGE_FIELD_VERSION)
        offer(c, ITEM_VALUE, "1", "1", NULL);
    if (f->form == KAGE_FORM_SHELL) {
        offer(c, ITEM_VALUE, "sh", "sh", NULL);
        offer(c, ITEM_VALUE, "bash", "bash", NULL);
    }
    if (f->parent == KAGE_OBJECT_IMAGE && strcmp(f->name, "name") == 0)
        offer(c, ITEM_VALUE, "tiny", "tiny", "The image kage builds by itself.");
    if (f->form == KAGE_FORM_USER && strcmp(f->name, "user") == 0) {
        offer(c, ITEM_REFERENCE, "root", "root", NULL);
        offer_names(c, "users");
    }
    if (f->parent == KAGE_OBJECT_MOUNT && strcmp(f->name, "source") == 0)
        offer_names(c, "shares");
    if (f->parent == KAGE_OBJECT_COMMAND && strcmp(f->name, "secrets") == 0)
        offer_names(c, "secrets");
    if (f->fallback && !f->words && f->type != KAGE_FIELD_BOOL && f->form != KAGE_FORM_SHELL &&
        f->form != KAGE_FORM_USER)
        offer(c, ITEM_VALUE, f->fallback, f->fallback, "The default.");
}

cJSON *kage_lsp_completion(const struct kage_documents *all, struct kage_document *doc,
                           size_t cursor)
{
    struct kage_context at;
    struct completion c = {cJSON_CreateArray(), all, doc, cursor, cursor};
    kage_context_find(doc->source.text, cursor, &at);
    c.start = at.start <= cursor ? at.start : cursor;
    if (at.known && at.key)
        offer_keys(&c, at.object);
    else if (at.known && at.field)
        offer_values(&c, at.field);
    return c.list;
}

struct place {
    int line, col;
};

static bool covers(const struct kage_span *at, struct place p)
{
    int width = at->width > 1 ? at->width : 1;
    return at->loc.line == p.line && p.col >= at->loc.col && p.col <= at->loc.col + width;
}

/* The field whose key is at a place. */
static const struct kage_field *field_at(const struct kage_node *node, enum kage_object_id id,
                                         struct place p, const struct kage_node **key);

static const struct kage_field *field_in(const struct kage_node *value, const struct kage_field *f,
                                         struct place p, const struct kage_node **key)
{
    const struct kage_field *found = NULL;
    if (f->type != KAGE_FIELD_OBJECT)
        return NULL;
    if (f->shape == KAGE_SHAPE_ONE)
        return field_at(value, f->object, p, key);
    for (size_t i = 0; !found && i < value->n; i++) {
        const struct kage_node *item = value->kind == KAGE_NODE_LIST  ? value->items[i]
                                       : value->kind == KAGE_NODE_MAP ? value->pairs[i].value
                                                                      : NULL;
        if (item)
            found = field_at(item, f->object, p, key);
    }
    return found;
}

static const struct kage_field *field_at(const struct kage_node *node, enum kage_object_id id,
                                         struct place p, const struct kage_node **key)
{
    const struct kage_field *found = NULL;
    for (size_t i = 0; !found && node->kind == KAGE_NODE_MAP && i < node->n; i++) {
        const struct kage_field *f = kage_field_find(id, node->pairs[i].key->text);
        if (f && covers(&node->pairs[i].key->at, p)) {
            *key = node->pairs[i].key;
            return f;
        }
        if (f)
            found = field_in(node->pairs[i].value, f, p, key);
    }
    return found;
}

static void describe_field(struct kage_buf *out, const struct kage_field *f)
{
    kage_buf_addf(out, "**%s** in %s\n\n%s\n", f->name, kage_objects[f->parent].name, f->doc);
    if (f->required)
        kage_buf_adds(out, "\nRequired.\n");
    else if (f->fallback)
        kage_buf_addf(out, "\nDefault: `%s`\n", f->fallback);
    for (const struct kage_word *w = f->words; w && w->word; w++)
        kage_buf_addf(out, "%s`%s`", w == f->words ? "\nOne of " : ", ", w->word);
}

cJSON *kage_lsp_hover(const struct kage_documents *all, struct kage_document *doc, size_t cursor)
{
    struct place p;
    struct kage_span at = {0};
    const struct kage_node *key = NULL;
    KAGE_CLEANUP(kage_buf_done) struct kage_buf out = {0};
    kage_source_place(&doc->source, cursor, &p.line, &p.col);
    size_t n;
    struct kage_finding *const *findings = kage_diags_list(doc->diags, &n);
    for (size_t i = 0; i < n; i++) {
        const struct kage_code *code = kage_code_find((int)findings[i]->code);
        if (!covers(&findings[i]->at, p))
            continue;
        at = findings[i]->at;
        kage_buf_addf(&out, "%s**K%d**: %s. %s\n", out.len ? "\n---\n" : "", code->number,
                      code->title, code->why);
    }
    const struct kage_field *f =
        doc->root && !doc->stale ? field_at(doc->root, KAGE_OBJECT_JOB, p, &key) : NULL;
    if (f) {
        kage_buf_adds(&out, out.len ? "\n---\n" : "");
        describe_field(&out, f);
        at = key->at;
    }
    if (!out.len)
        return NULL;
    cJSON *hover = cJSON_CreateObject();
    cJSON *contents = cJSON_AddObjectToObject(hover, "contents");
    cJSON_AddStringToObject(contents, "kind", "markdown");
    cJSON_AddStringToObject(contents, "value", out.data);
    cJSON_AddItemToObject(hover, "range", kage_document_span(all, doc, &at));
    return hover;
}

static const struct kage_node *key_named(const struct kage_node *map, const char *name)
{
    const struct kage_pair *pair =
        map && map->kind == KAGE_NODE_MAP ? kage_node_find(map, name) : NULL;
    return pair ? pair->key : NULL;
}

static const struct kage_node *refers(const struct kage_node *value, struct place p,
                                      const struct kage_node *names)
{
    if (value && value->kind == KAGE_NODE_SCALAR && covers(&value->at, p))
        return key_named(names, value->text);
    for (size_t i = 0; value && value->kind == KAGE_NODE_LIST && i < value->n; i++)
        if (value->items[i]->kind == KAGE_NODE_SCALAR && covers(&value->items[i]->at, p))
            return key_named(names, value->items[i]->text);
    return NULL;
}

static const struct kage_node *find_definition(const struct kage_node *root, struct place p)
{
    static const struct {
        const char *list, *key, *names;
    } references[] = {
        {"commands", "user", "users"},
        {"commands", "secrets", "secrets"},
        {"mounts", "source", "shares"},
        {"defaults", "user", "users"},
    };
    const struct kage_node *found = NULL;
    for (size_t i = 0; !found && i < sizeof(references) / sizeof(references[0]); i++) {
        const struct kage_node *in = value_of(root, references[i].list);
        const struct kage_node *names = value_of(root, references[i].names);
        if (in && in->kind == KAGE_NODE_MAP)
            found = refers(value_of(in, references[i].key), p, names);
        for (size_t k = 0; !found && in && in->kind == KAGE_NODE_LIST && k < in->n; k++)
            found = refers(value_of(in->items[k], references[i].key), p, names);
    }
    return found;
}

cJSON *kage_lsp_definition(const struct kage_documents *all, struct kage_document *doc,
                           size_t cursor)
{
    struct place p;
    kage_source_place(&doc->source, cursor, &p.line, &p.col);
    const struct kage_node *key = doc->root && !doc->stale ? find_definition(doc->root, p) : NULL;
    if (!key)
        return NULL;
    cJSON *location = cJSON_CreateObject();
    cJSON_AddStringToObject(location, "uri", doc->uri);
    cJSON_AddItemToObject(location, "range", kage_document_span(all, doc, &key->at));
    return location;
}

/* Kinds of LSP that come closest. */
enum { SYMBOL_FUNCTION = 12, SYMBOL_VARIABLE = 13, SYMBOL_KEY = 20 };

static cJSON *symbol(const struct kage_documents *all, struct kage_document *doc, const char *name,
                     int kind, const struct kage_span *at)
{
    cJSON *s = cJSON_CreateObject();
    cJSON_AddStringToObject(s, "name", name && *name ? name : "?");
    cJSON_AddNumberToObject(s, "kind", kind);
    cJSON_AddItemToObject(s, "range", kage_document_span(all, doc, at));
    cJSON_AddItemToObject(s, "selectionRange", kage_document_span(all, doc, at));
    return s;
}

/* What a command or mount is called: its name, else what it is. */
static const struct kage_node *title(const struct kage_node *map)
{
    static const char *const keys[] = {"name", "id", "target", "path", "run", "exec"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct kage_node *value = value_of(map, keys[i]);
        if (value && value->kind == KAGE_NODE_LIST && value->n)
            value = value->items[0];
        if (value && value->kind == KAGE_NODE_SCALAR)
            return value;
    }
    return NULL;
}

static void add_children(const struct kage_documents *all, struct kage_document *doc,
                         const struct kage_pair *pair, cJSON *parent)
{
    const struct kage_node *value = pair->value;
    const struct kage_field *f = kage_field_find(KAGE_OBJECT_JOB, pair->key->text);
    if (!f || f->type != KAGE_FIELD_OBJECT || value->kind == KAGE_NODE_SCALAR || !value->n ||
        f->shape == KAGE_SHAPE_ONE)
        return;
    cJSON *children = cJSON_AddArrayToObject(parent, "children");
    for (size_t i = 0; i < value->n; i++) {
        bool map = value->kind == KAGE_NODE_MAP;
        const struct kage_node *name = map ? value->pairs[i].key : title(value->items[i]);
        const struct kage_span *at = name ? &name->at : &value->items[i]->at;
        KAGE_CLEANUP(kage_freep)
        char *text = name ? kage_strndup(name->text, strcspn(name->text, "\n")) : NULL;
        int kind = f->object == KAGE_OBJECT_COMMAND ? SYMBOL_FUNCTION : SYMBOL_VARIABLE;
        cJSON_AddItemToArray(children, symbol(all, doc, text, kind, at));
    }
}

cJSON *kage_lsp_symbols(const struct kage_documents *all, struct kage_document *doc)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; doc->root && !doc->stale && i < doc->root->n; i++) {
        const struct kage_pair *pair = &doc->root->pairs[i];
        cJSON *s = symbol(all, doc, pair->key->text, SYMBOL_KEY, &pair->key->at);
        add_children(all, doc, pair, s);
        cJSON_AddItemToArray(list, s);
    }
    return list;
}
