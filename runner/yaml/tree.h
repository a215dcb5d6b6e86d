#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "runner/diag/diag.h"

struct kage_arena;

enum kage_node_kind { KAGE_NODE_SCALAR, KAGE_NODE_LIST, KAGE_NODE_MAP, KAGE_NODE_COUNT };
enum kage_node_style { KAGE_STYLE_PLAIN, KAGE_STYLE_QUOTED, KAGE_STYLE_BLOCK };

struct kage_pair {
    struct kage_node *key; /* always a scalar */
    struct kage_node *value;
};

/*
 * A located YAML node. An alias is the very node it refers to, so a tree is a graph without
 * cycles; what it would be when written out is bounded (K108).
 */
struct kage_node {
    enum kage_node_kind kind;
    enum kage_node_style style; /* of a scalar */
    struct kage_span at;
    bool one_line; /* scalar without escapes: character i of text stands at column at.col+i */
    bool broken;   /* something in its place was already reported; judge it no further */
    char *text;    /* scalar, no NUL byte inside */
    size_t len;
    struct kage_node **items; /* list */
    struct kage_pair *pairs;  /* map, every key once */
    size_t n;
    size_t weight; /* nodes in it with aliases written out */
    size_t bytes;  /* of the texts and keys in it, likewise */
};

#define KAGE_YAML_MAX_BYTES ((size_t)1024 * 1024)
#define KAGE_YAML_MAX_DEPTH 32
#define KAGE_YAML_MAX_NODES 10000
#define KAGE_YAML_MAX_ANCHORS 64

/*
 * Parses one document of the strict YAML 1.2 subset that specs are written in. `file` is a name
 * from kage_diags_file(). Returns the root, owned by arena; NULL when what was found (and
 * reported) makes judging the rest pointless, or when the file is empty.
 */
struct kage_node *kage_yaml_parse(struct kage_arena *arena, const char *file, const char *text,
                                  size_t len, struct kage_diags *diags);

/* The value of a key; NULL if the map has none. */
const struct kage_pair *kage_node_find(const struct kage_node *map, const char *key);

const char *kage_node_kind_name(const struct kage_node *node); /* "a list", … */
