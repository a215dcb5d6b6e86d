#include "runner/yaml/tree.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/base/alloc.h"
#include "runner/yaml/arena.h"
#include "runner/yaml/scalar.h"
#include "runner/yaml/syntax.h"

/*
 * Theory of operation. libyaml's event API does the scanning; its document API turns quadratic
 * with many anchors and would hide duplicate keys. Everything that libyaml leaves to its callers
 * is found here, while the tree grows: duplicate keys, aliases to nothing or to their own parent,
 * the size of what aliases stand for, depth (aborted at our own limit long before libyaml's
 * handling of deep flow nesting becomes quadratic), second documents, tags and merge keys.
 *
 * A place where something was reported holds a node marked `broken`, so that one mistake is not
 * reported again by every later stage.
 */
struct anchor {
    char *name;
    struct kage_node *node;
    struct kage_span at;
    bool open, used;
};

struct frame {
    struct kage_node *node;
    struct kage_node *key; /* map: waiting for its value */
    bool drop;             /* map: the key was reported, its value goes nowhere */
};

struct builder {
    struct kage_arena *arena;
    struct kage_diags *diags;
    const char *file, *text;
    size_t len;
    yaml_parser_t parser;
    struct frame stack[KAGE_YAML_MAX_DEPTH];
    size_t depth;
    struct anchor anchors[KAGE_YAML_MAX_ANCHORS];
    size_t n_anchors;
    size_t nodes;       /* so far, aliases written out */
    size_t alias_bytes; /* what aliases stand for, so far */
    struct kage_node *root;
    bool giving_up;
};

static struct kage_span mark_span(const struct builder *b, const yaml_mark_t *start,
                                  const yaml_mark_t *end)
{
    int width = 1;
    if (end && end->line == start->line && end->column > start->column)
        width = (int)(end->column - start->column);
    return (struct kage_span){{b->file, (int)start->line + 1, (int)start->column + 1}, width};
}

static struct kage_node *new_node(struct builder *b, enum kage_node_kind kind,
                                  const yaml_event_t *event)
{
    struct kage_node *node = kage_arena_alloc(b->arena, sizeof(*node));
    bool scalar = kind == KAGE_NODE_SCALAR;
    node->kind = kind;
    node->at = mark_span(b, &event->start_mark, scalar ? &event->end_mark : NULL);
    node->weight = 1;
    return node;
}

static void count_nodes(struct builder *b, size_t n, const struct kage_span *at, bool alias)
{
    b->nodes += n;
    if (b->nodes <= KAGE_YAML_MAX_NODES || b->giving_up)
        return;
    b->giving_up = true;
    if (alias)
        kage_diags_add(b->diags, K108_EXPANSION, *at,
                       "more than 10,000 nodes once aliases are expanded");
    else
        kage_diags_add(b->diags, K112_TOO_BIG, *at, "more than 10,000 nodes");
}

/* A file of the largest size may hold one long text and three thousand aliases of it. */
static void count_alias(struct builder *b, const struct kage_node *node, const struct kage_span *at)
{
    count_nodes(b, node->weight, at, true);
    b->alias_bytes += node->bytes;
    if (b->alias_bytes <= KAGE_YAML_MAX_BYTES || b->giving_up)
        return;
    b->giving_up = true;
    kage_diags_add(b->diags, K108_EXPANSION, *at,
                   "aliases stand for more than 1 MiB of text in all");
}

static void report_empty_key(struct builder *b, struct kage_node *key)
{
    size_t len;
    if (key->style != KAGE_STYLE_PLAIN || !kage_yaml_lacks_space(key->text, key->len, &len))
        return;
    struct kage_finding *f = kage_diags_add(b->diags, K114_MISSING_SPACE, key->at,
                                            "'%s' is one word to YAML, not a key and a value",
                                            kage_diags_show(b->diags, key->text, key->len));
    kage_finding_help(f, "put a space after '%.*s:'", (int)len, key->text);
    struct kage_span gap = key->at;
    gap.loc.col += (int)len + 1;
    kage_finding_fix_between(b->diags, f, gap, " ");
}

/* A key has been read: may it stand here? */
static bool accept_key(struct builder *b, struct kage_node *key, bool alias)
{
    if (key->broken)
        return false;
    if (alias || key->kind != KAGE_NODE_SCALAR) {
        kage_diags_add(b->diags, K203_WRONG_TYPE, key->at, "a key must be a word, not %s",
                       alias ? "an alias" : kage_node_kind_name(key));
        return false;
    }
    if (key->style == KAGE_STYLE_PLAIN && strcmp(key->text, "<<") == 0) {
        struct kage_finding *f = kage_diags_add(b->diags, K106_MERGE_KEY, key->at,
                                                "merge keys are not part of YAML 1.2");
        kage_finding_help(f, "use an alias for the whole map, or repeat the keys");
        return false;
    }
    return true;
}

static void place_in_map(struct builder *b, struct frame *top, struct kage_node *node, bool alias)
{
    struct kage_node *map = top->node;
    if (!top->key) {
        top->drop = !accept_key(b, node, alias);
        top->key = node;
        return;
    }
    struct kage_node *key = top->key;
    top->key = NULL;
    if (top->drop)
        return;
    if (node->kind == KAGE_NODE_SCALAR && node->len == 0 && node->style == KAGE_STYLE_PLAIN) {
        size_t len;
        if (key->style == KAGE_STYLE_PLAIN && kage_yaml_lacks_space(key->text, key->len, &len)) {
            report_empty_key(b, key);
            return;
        }
        node->at = key->at; /* where nothing stands there is nothing to point at */
    }
    map->pairs = kage_arena_push(b->arena, map->pairs, map->n, sizeof(*map->pairs));
    map->pairs[map->n++] = (struct kage_pair){key, node};
    map->weight += node->weight + 1;
    map->bytes += node->bytes + key->len;
}

static void place(struct builder *b, struct kage_node *node, bool alias)
{
    if (b->depth == 0) {
        b->root = node;
        return;
    }
    struct frame *top = &b->stack[b->depth - 1];
    if (top->node->kind == KAGE_NODE_MAP) {
        place_in_map(b, top, node, alias);
        return;
    }
    struct kage_node *list = top->node;
    list->items = kage_arena_push(b->arena, list->items, list->n, sizeof(struct kage_node *));
    list->items[list->n++] = node;
    list->weight += node->weight;
    list->bytes += node->bytes;
}

static struct anchor *find_anchor(struct builder *b, const char *name)
{
    for (size_t i = b->n_anchors; i-- > 0;) /* the latest one of that name counts */
        if (strcmp(b->anchors[i].name, name) == 0)
            return &b->anchors[i];
    return NULL;
}

/* A tag of YAML's own says what the key says anyway, but for !!str, which is quotes spelt out. */
static void fix_tag(struct builder *b, struct kage_finding *f, const struct kage_node *node,
                    bool string)
{
    struct kage_span at = f->at;
    size_t len;
    at.width = (int)node->len + 256; /* as much of the line as matters */
    const char *s = kage_diags_text(b->diags, &at, &len);
    if (!s || len < 3 || s[0] != '!' || s[1] != '!')
        return;
    size_t value = 2;
    while (value < len && !strchr(" \t,]}", s[value]))
        value++;
    while (value < len && strchr(" \t", s[value]))
        value++;
    if (value == len || strchr("&|>", s[value]))
        return;
    at.width = (int)value; /* names of tags are ASCII here, or else this is not one of YAML's own */
    bool plain = node->text && node->style == KAGE_STYLE_PLAIN && node->len <= len - value &&
                 memcmp(s + value, node->text, node->len) == 0;
    if (!string || !plain || strpbrk(node->text, "\"\\")) {
        kage_finding_fix(b->diags, f, at, "");
        return;
    }
    KAGE_CLEANUP(kage_freep) char *quoted = kage_asprintf("\"%s\"", node->text);
    for (size_t i = 0; i < node->len; i++)
        at.width += (node->text[i] & 0xc0) != 0x80;
    kage_finding_fix(b->diags, f, at, quoted);
}

static void note_properties(struct builder *b, struct kage_node *node, const yaml_event_t *event,
                            const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct kage_span at = mark_span(b, &event->start_mark, NULL);
    if (tag) {
        static const char core[] = "tag:yaml.org,2002:"; /* what !! stands for */
        const char *name = (const char *)tag;
        bool is_core = strncmp(name, core, sizeof(core) - 1) == 0;
        name += is_core ? sizeof(core) - 1 : 0;
        struct kage_finding *f =
            kage_diags_add(b->diags, K110_TAG, at, "tag '%s%s' is not allowed", is_core ? "!!" : "",
                           kage_diags_show(b->diags, name, strlen(name)));
        kage_finding_help(f, "the key decides the type; leave the tag out");
        if (is_core)
            fix_tag(b, f, node, strcmp(name, "str") == 0);
    }
    if (!anchor)
        return;
    at.width = (int)strlen((const char *)anchor) + 1;
    if (b->n_anchors == KAGE_YAML_MAX_ANCHORS) {
        kage_diags_add(b->diags, K108_EXPANSION, at, "more than %d anchors", KAGE_YAML_MAX_ANCHORS);
        b->giving_up = true;
        return;
    }
    b->anchors[b->n_anchors++] = (struct anchor){
        .name = kage_arena_strdup(b->arena, (const char *)anchor),
        .node = node,
        .at = at,
        .open = node->kind != KAGE_NODE_SCALAR,
    };
}

static void on_alias(struct builder *b, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct kage_span at = mark_span(b, &event->start_mark, &event->end_mark);
    struct anchor *anchor = find_anchor(b, name);
    const char *shown = kage_diags_show(b->diags, name, strlen(name));
    if (anchor && !anchor->open) {
        anchor->used = true;
        count_alias(b, anchor->node, &at);
        place(b, anchor->node, true);
        return;
    }
    struct kage_finding *f;
    if (anchor) {
        anchor->used = true;
        f = kage_diags_add(b->diags, K107_ALIAS, at, "alias '*%s' is inside its own anchor", shown);
        kage_finding_also(f, anchor->at, "the anchor is here");
    } else {
        f = kage_diags_add(b->diags, K107_ALIAS, at, "alias '*%s' has no anchor above it", shown);
        kage_finding_help(f, "quote the text if it starts with '*'");
    }
    struct kage_node *node = new_node(b, KAGE_NODE_SCALAR, event);
    node->text = kage_arena_strdup(b->arena, "");
    node->broken = true;
    place(b, node, false);
}

static enum kage_node_style style_of(yaml_scalar_style_t style)
{
    if (style == YAML_SINGLE_QUOTED_SCALAR_STYLE || style == YAML_DOUBLE_QUOTED_SCALAR_STYLE)
        return KAGE_STYLE_QUOTED;
    if (style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE)
        return KAGE_STYLE_BLOCK;
    return KAGE_STYLE_PLAIN;
}

static void on_scalar(struct builder *b, const yaml_event_t *event)
{
    struct kage_node *node = new_node(b, KAGE_NODE_SCALAR, event);
    const char *value = (const char *)event->data.scalar.value;
    node->style = style_of(event->data.scalar.style);
    node->len = node->bytes = event->data.scalar.length;
    node->text = kage_arena_strndup(b->arena, value, node->len);
    size_t chars = 0;
    for (size_t i = 0; i < node->len; i++)
        chars += (node->text[i] & 0xc0) != 0x80;
    int quotes = node->style == KAGE_STYLE_QUOTED ? 2 : 0;
    node->one_line =
        node->style != KAGE_STYLE_BLOCK && node->at.width == (int)chars + quotes && chars > 0;
    if (memchr(value, '\0', node->len)) {
        kage_diags_add(b->diags, K111_ENCODING, node->at, "a text cannot hold a NUL character");
        node->len = strlen(node->text);
        node->broken = true;
    }
    count_nodes(b, 1, &node->at, false);
    note_properties(b, node, event, event->data.scalar.anchor, event->data.scalar.tag);
    place(b, node, false);
}

static void on_start(struct builder *b, enum kage_node_kind kind, const yaml_event_t *event,
                     const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct kage_node *node = new_node(b, kind, event);
    if (b->depth == KAGE_YAML_MAX_DEPTH) {
        kage_diags_add(b->diags, K112_TOO_BIG, node->at, "nested deeper than %d levels",
                       KAGE_YAML_MAX_DEPTH);
        b->giving_up = true;
        return;
    }
    count_nodes(b, 1, &node->at, false);
    note_properties(b, node, event, anchor, tag);
    b->stack[b->depth++] = (struct frame){.node = node};
}

static int by_key(const void *a, const void *b)
{
    const struct kage_pair *x = *(const struct kage_pair *const *)a;
    const struct kage_pair *y = *(const struct kage_pair *const *)b;
    int order = strcmp(x->key->text, y->key->text);
    return order ? order : x < y ? -1 : x > y;
}

/* Reports every repeated key and keeps only the first of each. Sorting keeps a map of thousands of
 * keys from costing a comparison for every pair of them. */
static void drop_duplicates(struct builder *b, struct kage_node *map)
{
    if (map->n < 2)
        return;
    const struct kage_pair **sorted = kage_alloc(map->n * sizeof(struct kage_pair *));
    for (size_t i = 0; i < map->n; i++)
        sorted[i] = &map->pairs[i];
    qsort(sorted, map->n, sizeof(struct kage_pair *), by_key);
    bool *drop = NULL;
    size_t first = 0;
    for (size_t i = 1; i < map->n; i++) {
        const struct kage_node *key = sorted[i]->key, *before = sorted[first]->key;
        if (strcmp(key->text, before->text) != 0) {
            first = i;
            continue;
        }
        struct kage_finding *f =
            kage_diags_add(b->diags, K102_DUPLICATE_KEY, key->at, "key '%s' is here twice",
                           kage_diags_show(b->diags, key->text, key->len));
        kage_finding_also(f, before->at, "the first one is here");
        if (!drop)
            drop = kage_alloc(map->n);
        drop[sorted[i] - map->pairs] = true;
    }
    free(sorted);
    if (!drop)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < map->n; i++)
        if (!drop[i])
            map->pairs[kept++] = map->pairs[i];
    map->n = kept;
    free(drop);
}

static void on_end(struct builder *b)
{
    struct kage_node *node = b->stack[--b->depth].node;
    for (size_t i = 0; i < b->n_anchors; i++)
        if (b->anchors[i].node == node)
            b->anchors[i].open = false;
    if (node->kind == KAGE_NODE_MAP)
        drop_duplicates(b, node);
    place(b, node, false);
}

static void on_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->root) {
            struct kage_finding *f = kage_diags_add(
                b->diags, K109_SECOND_DOCUMENT, mark_span(b, &event->start_mark, &event->end_mark),
                "a second document starts here");
            kage_finding_help(f, "one file is one job; put the other into a file of its own");
            b->giving_up = true;
        }
        break;
    case YAML_ALIAS_EVENT:
        on_alias(b, event);
        break;
    case YAML_SCALAR_EVENT:
        on_scalar(b, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        on_start(b, KAGE_NODE_LIST, event, event->data.sequence_start.anchor,
                 event->data.sequence_start.tag);
        break;
    case YAML_MAPPING_START_EVENT:
        on_start(b, KAGE_NODE_MAP, event, event->data.mapping_start.anchor,
                 event->data.mapping_start.tag);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        on_end(b);
        break;
    default:
        break;
    }
}

static struct kage_yaml_place mark_place(const yaml_mark_t *mark)
{
    return (struct kage_yaml_place){(int)mark->line + 1, (int)mark->column + 1};
}

/* Whether the whole stream was read, or the first document with another one behind it. */
static bool run(struct builder *b)
{
    for (bool done = false; !done;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&b->parser, &event)) {
            const yaml_parser_t *p = &b->parser;
            struct kage_yaml_place context = {0, 0};
            if (p->context)
                context = mark_place(&p->context_mark);
            kage_yaml_explain(b->file, b->text, b->len, p->problem, mark_place(&p->problem_mark),
                              p->context, context, b->diags);
            return false;
        }
        on_event(b, &event);
        done = event.type == YAML_STREAM_END_EVENT || b->giving_up;
        yaml_event_delete(&event);
    }
    return b->root && b->depth == 0;
}

static void report_unused_anchors(struct builder *b)
{
    for (size_t i = 0; i < b->n_anchors; i++) {
        if (b->anchors[i].used)
            continue;
        const char *name = b->anchors[i].name;
        kage_diags_add(b->diags, K116_UNUSED_ANCHOR, b->anchors[i].at,
                       "no alias uses the anchor '&%s'",
                       kage_diags_show(b->diags, name, strlen(name)));
    }
}

struct kage_node *kage_yaml_parse(struct kage_arena *arena, const char *file, const char *text,
                                  size_t len, struct kage_diags *diags)
{
    if (!kage_yaml_check_text(file, text, len, diags))
        return NULL;
    struct builder *b = kage_alloc(sizeof(*b));
    *b = (struct builder){.arena = arena, .diags = diags, .file = file, .text = text, .len = len};
    struct kage_node *root = NULL;
    if (yaml_parser_initialize(&b->parser)) {
        yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&b->parser, (const unsigned char *)text, len);
        if (run(b)) {
            report_unused_anchors(b);
            root = b->root;
        }
        yaml_parser_delete(&b->parser);
    }
    free(b);
    return root;
}

const struct kage_pair *kage_node_find(const struct kage_node *map, const char *key)
{
    for (size_t i = 0; map->kind == KAGE_NODE_MAP && i < map->n; i++)
        if (strcmp(map->pairs[i].key->text, key) == 0)
            return &map->pairs[i];
    return NULL;
}

const char *kage_node_kind_name(const struct kage_node *node)
{
    if (node->kind == KAGE_NODE_LIST)
        return "a list";
    if (node->kind == KAGE_NODE_MAP)
        return "a map";
    return kage_scalar_kind_name(kage_scalar_resolve(node));
}
