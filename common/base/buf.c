#include "common/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

static void reserve(struct kage_buf *b, size_t extra)
{
    b->data = kage_array_grow(b->data, &b->cap, b->len + extra + 1, 1);
}

void kage_buf_add(struct kage_buf *b, const void *data, size_t len)
{
    reserve(b, len);
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void kage_buf_adds(struct kage_buf *b, const char *s)
{
    kage_buf_add(b, s, strlen(s));
}

void kage_buf_addc(struct kage_buf *b, char c)
{
    kage_buf_add(b, &c, 1);
}

void kage_buf_vaddf(struct kage_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n <= 0) {
        reserve(b, 0);
        b->data[b->len] = '\0';
        return;
    }
    reserve(b, (size_t)n);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    b->len += (size_t)n;
}

void kage_buf_addf(struct kage_buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    kage_buf_vaddf(b, fmt, ap);
    va_end(ap);
}

void kage_buf_consume(struct kage_buf *b, size_t n)
{
    if (n >= b->len) {
        kage_buf_clear(b);
        return;
    }
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

void kage_buf_clear(struct kage_buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = '\0';
}

void kage_buf_done(struct kage_buf *b)
{
    free(b->data);
    *b = (struct kage_buf){0};
}

char *kage_buf_take(struct kage_buf *b)
{
    char *data;

    reserve(b, 0);
    b->data[b->len] = '\0';
    data = b->data;
    *b = (struct kage_buf){0};
    return data;
}
