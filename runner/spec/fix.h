#pragma once

#include <stddef.h>

#include "runner/spec/reader.h"

struct kage_foreign;

/*
 * The cures that are certain, as edits of findings (kage_finding_fix). Each function looks whether
 * its case is one of them and otherwise adds nothing. The value must be the one that is written:
 * what a ${…} gave cannot be mended here.
 */

/* The scalar, quotes and all, becomes `text`. */
void kage_fix_scalar(struct kage_reader *r, struct kage_finding *f, const struct kage_node *node,
                     const char *text);

/* A plain scalar gets quotes. */
void kage_fix_quote(struct kage_reader *r, struct kage_finding *f, const struct kage_node *node);

/* "512m", "512 MB", "1.5GiB" to what was meant: NULL if that is not certain. Owned by the arena. */
const char *kage_fix_size(struct kage_reader *r, const char *text);
const char *kage_fix_duration(struct kage_reader *r, const char *text);

/* A string that is almost of its form. */
const char *kage_fix_string(struct kage_reader *r, const struct kage_field *field,
                            const char *text);

/* A key that is another one's name misspelt. */
void kage_fix_key(struct kage_reader *r, struct kage_finding *f, enum kage_object_id object,
                  const struct kage_node *map, const struct kage_pair *pair, const char *name);

/* A key of another tool's, where ours says the same. */
void kage_fix_foreign(struct kage_reader *r, struct kage_finding *f,
                      const struct kage_foreign *foreign, const struct kage_node *map,
                      const struct kage_pair *pair);
