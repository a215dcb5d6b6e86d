#include "common/base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The code `kage apply` gives when there is no verdict. */
#define EXIT_NO_VERDICT 125

static _Noreturn void out_of_memory(void)
{
    static const char text[] = "kage: out of memory\n";

    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        /* Nowhere left to say it; the exit code still does. */
    }
    _exit(EXIT_NO_VERDICT);
}

void *kage_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);

    if (!p)
        out_of_memory();
    return p;
}

void *kage_realloc(void *p, size_t size)
{
    p = realloc(p, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *kage_array_grow(void *p, size_t *cap, size_t need, size_t item_size)
{
    size_t want = *cap ? *cap : 8;

    if (need <= *cap)
        return p;
    while (want < need) {
        if (want > SIZE_MAX / 2)
            out_of_memory();
        want *= 2;
    }
    if (want > SIZE_MAX / item_size)
        out_of_memory();
    p = kage_realloc(p, want * item_size);
    *cap = want;
    return p;
}

char *kage_strdup(const char *s)
{
    return s ? kage_strndup(s, strlen(s)) : NULL;
}

char *kage_strndup(const char *s, size_t n)
{
    char *copy = kage_alloc(n + 1);

    if (n)
        memcpy(copy, s, n);
    return copy;
}

void *kage_memdup(const void *p, size_t n)
{
    return kage_strndup(p, n);
}

char *kage_asprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        out_of_memory();
    return text;
}

void kage_freep(void *p)
{
    void **slot = p;

    free(*slot);
    *slot = NULL;
}

void kage_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int kage_take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}
