#pragma once

#include <stddef.h>

/*
 * Allocation that does not return NULL. Out of memory ends the program in an
 * orderly way: one line on stderr, then exit code 125, which `kage apply` users
 * know as "no verdict". The kernel then ends what hangs on the process: QEMU
 * dies with its parent, and a guest whose PID 1 is gone stops.
 */
void *kage_alloc(size_t size);            /* zeroed */
void *kage_realloc(void *p, size_t size); /* size 0 is taken as 1 */
void *kage_array_grow(void *p, size_t *cap, size_t need, size_t item_size);
char *kage_strdup(const char *s); /* NULL gives NULL */
char *kage_strndup(const char *s, size_t n);
void *kage_memdup(const void *p, size_t n);
char *kage_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Scope-bound cleanup: KAGE_CLEANUP(kage_freep) char *s = …; */
#define KAGE_CLEANUP(fn) __attribute__((cleanup(fn)))
void kage_freep(void *p);  /* frees *(void **)p */
void kage_closep(int *fd); /* closes *fd unless it is negative, sets it to -1 */

/* Hands ownership of *p over and leaves NULL behind. */
int kage_take_fd(int *fd); /* leaves -1 */
#define KAGE_TAKE(p)                                                                               \
    ({                                                                                             \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })
