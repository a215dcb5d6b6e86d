#pragma once

#include <stdbool.h>

/* Whether `bearer` is the token in the file behind fd, compared in constant time. The file is read
 * anew each time: a machine restored from a template gets another token than the one it booted
 * with. Anything but KAGE_TOKEN_HEX hex digits in the file lets nobody in. */
bool kage_token_matches(int fd, const char *bearer);
