#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "runner/spec/fields.h"

struct kage_diags;
struct kage_node;
struct kage_suggestion;

/* A word that another tool uses where kage has one of its own. */
struct kage_foreign {
    enum kage_object_id object;
    const char *word;
    const char *tool;
    const char *ours; /* what to write instead, a clause if it is more than a word */
};

/* NULL if nobody else uses the word there. */
const struct kage_foreign *kage_foreign_find(enum kage_object_id object, const char *word);

/* Offers the foreign words of this object for a misspelt one. */
void kage_foreign_suggest(enum kage_object_id object, const char *word,
                          struct kage_suggestion *suggestion);

/* Whether the whole file is another tool's; reports that as its one finding. The text form is for
 * files that are no YAML at all, the tree form for those that are. */
bool kage_foreign_text(const char *file, const char *text, size_t len, struct kage_diags *diags);
bool kage_foreign_tree(const struct kage_node *root, struct kage_diags *diags);
