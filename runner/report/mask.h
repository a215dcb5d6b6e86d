#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

/*
 * Keeps secrets out of what kage prints: every occurrence of one becomes ***. In a
 * stream an occurrence may come in pieces, so what could be the beginning of one
 * is held back until more has come or the stream has ended.
 */
struct kage_mask;

struct kage_mask *kage_mask_new(void);
void kage_mask_free(struct kage_mask *mask);

/* Also hides each of the text's lines that is not very short: programs print what they read line
 * by line, and a terminal changes the line ends. */
void kage_mask_add(struct kage_mask *mask, const char *secret);

/* What one stream holds back. Zero-initialise it. */
struct kage_mask_stream {
    struct kage_buf held;
};

/* Appends to `out` what can be shown; at the end of the stream that is everything. */
void kage_mask_write(const struct kage_mask *mask, struct kage_mask_stream *stream,
                     const void *data, size_t len, bool end, struct kage_buf *out);
void kage_mask_stream_done(struct kage_mask_stream *stream);

/* A whole text. Takes it and gives one back; NULL gives NULL. A NULL mask hides nothing. */
char *kage_mask_text(const struct kage_mask *mask, char *text);
