#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * The guest's serial console, as far as a run needs it: the last lines, for
 * messages when a boot fails, and whether the kernel says that it panicked. Everything in
 * it is the guest's word: hints, never decisions, and escaped when shown.
 */
#define KAGE_CONSOLE_KEEP (16u * 1024u) /* bytes kept; a flood pushes out older ones */

struct kage_console {
    char ring[KAGE_CONSOLE_KEEP];
    size_t len;     /* bytes in the ring */
    size_t start;   /* where the oldest is */
    char line[256]; /* the line being received, cut at its size */
    size_t line_len;
    bool panicked;   /* the kernel said that it panicked */
    char panic[256]; /* the line it said it with */
};

void kage_console_add(struct kage_console *console, const char *data, size_t len);

/* The last `lines` lines, printable, each indented by two spaces and ended by a newline. Owned;
 * "" when the console said nothing. */
char *kage_console_tail(const struct kage_console *console, unsigned lines);
