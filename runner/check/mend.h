#pragma once

#include <stddef.h>

struct kage_error;

/* Applies fixes to a file until none is left to apply; comments and layout stay. Sets how many
 * findings that settled. Returns -1, with err set, when the file cannot be read or written. */
int kage_mend_file(const char *path, size_t *ret_fixed, struct kage_error *err);

/* The same for a text: the mended text, owned, or NULL if there was nothing to do. */
char *kage_mend_text(const char *file, const char *folder, const char *text, size_t len,
                     size_t *ret_len, size_t *ret_fixed);
