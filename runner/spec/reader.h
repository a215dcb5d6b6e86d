#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "runner/spec/draft.h"
#include "runner/spec/fields.h"
#include "runner/yaml/arena.h"
#include "runner/yaml/tree.h"

/* What the stages from tree to draft share. */
struct kage_reader {
    struct kage_arena *arena; /* outlives the spec */
    struct kage_diags *diags;
    const struct kage_node *host_env;      /* the list as written; NULL if there is none */
    size_t expanded;                       /* bytes that variables have been replaced with */
    const struct kage_spec_choice *matrix; /* of the job that is being read */
    size_t n_matrix;
    bool matrix_used;   /* something in the spec refers to it */
    bool matrix_broken; /* has been reported, so its axes may only seem to be missing */
    const struct kage_node *secrets; /* as written; NULL if there are none */
};

/* A value's place in the spec, for messages. */
struct kage_where {
    const struct kage_field *field;
    const struct kage_node *key; /* map entry: its key */
    bool item;                   /* an item of a list */
    const char *label;           /* what to call it when not by the field's name */
};

/* "'cpus'", "an item of 'exec'", "'TZ' in 'env'". Owned by the arena. */
const char *kage_where_text(struct kage_reader *r, const struct kage_where *where);

/* Walks a map (or, where the object has a scalar form, a scalar; or NULL for an object that is not
 * there) by the table of fields and fills the object's struct, defaults included. `at` is where
 * the object itself is said to be. */
void kage_read_object(struct kage_reader *r, enum kage_object_id object,
                      const struct kage_node *node, struct kage_span at, void *base);

/* Reads one scalar by its field's type into out, which has the field's size. Returns false when
 * it does not fit, which has then been reported. */
bool kage_decode(struct kage_reader *r, const struct kage_where *where,
                 const struct kage_node *node, void *out);

/* Reports a value of the wrong type, an empty one, or a forgotten space, whichever it is. */
void kage_report_type(struct kage_reader *r, const struct kage_where *where,
                      const struct kage_node *node, const char *wanted);

/* The text of a string value with ${…} replaced. NULL when that failed and was reported. `argument`
 * says that the text becomes part of a command line. */
char *kage_expand(struct kage_reader *r, const struct kage_node *node, bool argument);
