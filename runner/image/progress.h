#pragma once

#include <stdbool.h>

/* Shows what image work tells: lines on standard error; and on a terminal a bar, which is a text
 * that begins with '\r' and takes the place of the one before, until an empty one ends it.
 * `lines`: show those also where standard error is no terminal. */
void kage_image_show(const char *what, bool lines);
