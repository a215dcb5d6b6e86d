#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "runner/spec/fields.h"

/* What belongs where the cursor is, found from the text in front of it: while somebody types, the
 * file is seldom valid YAML. */
struct kage_context {
    bool key;   /* a key of `object` belongs here; otherwise a value of `field` */
    bool known; /* it is somewhere in the language */
    enum kage_object_id object;
    const struct kage_field *field;
    size_t start; /* of the word that is being typed */
};

void kage_context_find(const char *text, size_t cursor, struct kage_context *ret);
