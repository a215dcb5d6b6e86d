#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growable run of bytes, always followed by a NUL so that it can be read as a
 * string. Zero-initialise it; `data` may be NULL while empty. */
struct kage_buf {
    char *data;
    size_t len;
    size_t cap;
};

void kage_buf_add(struct kage_buf *b, const void *data, size_t len);
void kage_buf_adds(struct kage_buf *b, const char *s);
void kage_buf_addc(struct kage_buf *b, char c);
void kage_buf_addf(struct kage_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void kage_buf_vaddf(struct kage_buf *b, const char *fmt, va_list ap);
void kage_buf_consume(struct kage_buf *b, size_t n); /* drops the first n bytes */
void kage_buf_clear(struct kage_buf *b);             /* keeps the memory */
void kage_buf_done(struct kage_buf *b);              /* frees; leaves it zeroed */
char *kage_buf_take(struct kage_buf *b);             /* the bytes, owned; never NULL */
