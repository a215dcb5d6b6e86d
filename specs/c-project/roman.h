#pragma once

#include <stddef.h>

/* Writes the Roman numeral of n, 1 to 3999, into text. Returns its length, or 0 if n has none or
 * text is too small. */
size_t roman(unsigned n, char *text, size_t size);
