#pragma once

#include <stdbool.h>
#include <stddef.h>

struct kage_diags;

/* Where a libyaml mark points, counted from 1; line 0 for none. */
struct kage_yaml_place {
    int line, col;
};

/* Judges the bytes before any parser sees them: size, UTF-8, control characters. Returns whether
 * they are fit to be parsed. */
bool kage_yaml_check_text(const char *file, const char *text, size_t len, struct kage_diags *diags);

/* Reports why libyaml gave up, in the words of someone who wants it mended. */
void kage_yaml_explain(const char *file, const char *text, size_t len, const char *problem,
                       struct kage_yaml_place at, const char *context,
                       struct kage_yaml_place context_at, struct kage_diags *diags);

/* Whether s[0..n) reads like `key:value` with the space forgotten; *key_len is that of the key. */
bool kage_yaml_lacks_space(const char *s, size_t n, size_t *key_len);
