#pragma once

#include <stdarg.h>
#include <stddef.h>

/*
 * Memory that is given back all at once: a tree or a spec is thousands of small
 * strings with one lifetime, and freeing them one by one would cost more code
 * and time than everything else done with them.
 */
struct kage_arena;

struct kage_arena *kage_arena_new(void);
void kage_arena_free(struct kage_arena *arena);
void kage_arena_freep(struct kage_arena **arena);

void *kage_arena_alloc(struct kage_arena *arena, size_t size); /* zeroed, aligned for any type */
char *kage_arena_strndup(struct kage_arena *arena, const char *s, size_t n);
char *kage_arena_strdup(struct kage_arena *arena, const char *s); /* NULL gives NULL */
char *kage_arena_printf(struct kage_arena *arena, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Makes room for one more item behind items[0..n): returns items, or a bigger copy of it. Grows by
 * doubling at powers of two, so n alone says how much room there is. */
void *kage_arena_push(struct kage_arena *arena, void *items, size_t n, size_t item_size);
