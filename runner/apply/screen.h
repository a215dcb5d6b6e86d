#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"

struct kage_loop;

/*
 * kage's standard output and error while several jobs run: bytes for either, in
 * the order they are given, and on a terminal a status line below them. Writing
 * never blocks the loop; the giver waits while the screen is busy.
 */
struct kage_screen;

struct kage_screen_handler {
    void (*on_room)(void *user);               /* everything given has been written */
    void (*on_broken)(int errnum, void *user); /* a stream cannot be written any more */
};

/* `status`: show a status line if standard error is a terminal. */
int kage_screen_new(struct kage_loop *loop, bool status, const struct kage_screen_handler *handler,
                    void *user, struct kage_screen **ret, struct kage_error *err);
void kage_screen_free(struct kage_screen *screen);

void kage_screen_write(struct kage_screen *screen, bool is_stderr, const void *data, size_t len);
/* Whether something given still waits to be written. */
bool kage_screen_busy(const struct kage_screen *screen);
/* What the status line says from now on; NULL for none. It is cut to the terminal's width. */
void kage_screen_status(struct kage_screen *screen, const char *text);
