#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the longest prefix of s[0..n) that is valid UTF-8 (RFC 3629: no
 * surrogates, no overlong forms, nothing past U+10FFFF). */
size_t kage_utf8_valid_prefix(const char *s, size_t n);
bool kage_utf8_valid(const char *s, size_t n);

/* How many bytes at the end of s[0..n) may be the start of a character that the
 * next read completes (0 to 3). */
size_t kage_utf8_incomplete_tail(const char *s, size_t n);

/* Base64 (RFC 4648, with padding). encode returns an owned string. decode
 * returns -1 on anything but canonical input; *out is owned. */
char *kage_base64_encode(const void *data, size_t n);
int kage_base64_decode(const char *s, size_t n, unsigned char **out, size_t *out_len);

/* An owned copy of s in which control characters, escape sequences and invalid UTF-8 are
 * written as \xNN: for everything that kage itself prints and did not write. */
char *kage_printable(const char *s, size_t n);

/* No JSON text has more values than this, nested ones counted: 1 and one for each '[', '{' and ','
 * outside strings. A tree of it costs about 150 bytes for each, which may be two bytes of text. */
size_t kage_json_values(const char *s, size_t n);

/* "1m30s", "2s", "150ms": shortest exact form. Owned. */
char *kage_duration_text(uint64_t ms);
