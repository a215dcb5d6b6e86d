#include "runner/yaml/arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

#define BLOCK_SIZE 16384

struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) char data[];
};

struct kage_arena {
    struct block *blocks;
};

struct kage_arena *kage_arena_new(void)
{
    return kage_alloc(sizeof(struct kage_arena));
}

void kage_arena_free(struct kage_arena *arena)
{
    if (!arena)
        return;
    for (struct block *b = arena->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(arena);
}

void kage_arena_freep(struct kage_arena **arena)
{
    kage_arena_free(*arena);
    *arena = NULL;
}

void *kage_arena_alloc(struct kage_arena *arena, size_t size)
{
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct block *b = arena->blocks;
    if (!b || b->size - b->used < size) {
        bool big = size > BLOCK_SIZE / 4;
        size_t room = big ? size : BLOCK_SIZE;
        struct block *fresh = kage_alloc(sizeof(*fresh) + room);
        fresh->size = room;
        if (big && b) { /* keep filling the block that still has room */
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            arena->blocks = fresh;
        }
        b = fresh;
    }
    void *p = b->data + b->used;
    b->used += size;
    return p;
}

char *kage_arena_strndup(struct kage_arena *arena, const char *s, size_t n)
{
    char *copy = kage_arena_alloc(arena, n + 1);
    memcpy(copy, s, n);
    return copy;
}

char *kage_arena_strdup(struct kage_arena *arena, const char *s)
{
    return s ? kage_arena_strndup(arena, s, strlen(s)) : NULL;
}

char *kage_arena_printf(struct kage_arena *arena, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *s = kage_arena_alloc(arena, (size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    return s;
}

void *kage_arena_push(struct kage_arena *arena, void *items, size_t n, size_t item_size)
{
    if (n && (n < 4 || (n & (n - 1))))
        return items;
    void *bigger = kage_arena_alloc(arena, (n ? 2 * n : 4) * item_size);
    if (n)
        memcpy(bigger, items, n * item_size);
    return bigger;
}
