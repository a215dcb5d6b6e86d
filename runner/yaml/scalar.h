#pragma once

#include <stdbool.h>
#include <stdint.h>

struct kage_node;

/* What YAML 1.2's core schema (section 10.3.2) makes of a scalar. Quoted and block scalars are
 * always strings. */
enum kage_scalar_kind {
    KAGE_SCALAR_STRING,
    KAGE_SCALAR_NULL,
    KAGE_SCALAR_BOOL,
    KAGE_SCALAR_INT,
    KAGE_SCALAR_FLOAT,
    KAGE_SCALAR_COUNT,
};

enum kage_scalar_kind kage_scalar_resolve(const struct kage_node *node);
const char *kage_scalar_kind_name(enum kage_scalar_kind kind); /* "a string", "an integer", … */

/* Plain scalars that YAML 1.1 readers take for something else than 1.2 readers do. */
bool kage_scalar_is_old_bool(const char *text);    /* yes, no, on, off, y, n */
bool kage_scalar_is_octal_like(const char *text);  /* 0644 */
bool kage_scalar_is_sexagesimal(const char *text); /* 22:22 */

/* Value of a scalar that resolves to a bool or an int. The int form returns -1 on overflow. */
bool kage_scalar_bool(const struct kage_node *node);
int kage_scalar_int(const struct kage_node *node, int64_t *ret);
