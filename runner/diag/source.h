#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

/* The text of one file, indexed by line, for showing lines of it. */
struct kage_source {
    char *name;
    char *text;
    size_t len;
    size_t *lines; /* offsets of line starts; made when first asked for */
    size_t n_lines;
    /* where the last columns were found, so that findings that follow each other
     * on one very long line do not each walk it from its start; two, because
     * every other excerpt may be of the place a finding refers to */
    struct kage_source_place {
        int line, col;
        size_t offset;
    } seen[2];
    unsigned oldest;
};

void kage_source_init(struct kage_source *source, const char *name, const char *text, size_t len);
void kage_source_done(struct kage_source *source);

/* Appends the part of `line` around `col` that is worth showing, in printable characters. Sets
 * the cells from its start to `col`, and how many cells `width` code points take. Returns false
 * when there is no such line. */
bool kage_source_show(struct kage_source *source, int line, int col, int width,
                      struct kage_buf *out, int *ret_indent, int *ret_cells);

/* Byte offset of a place; of the line's end if the column is beyond it. False if there is no such
 * line. */
bool kage_source_offset(struct kage_source *source, int line, int col, size_t *ret);

/* Line and column of a byte offset. */
void kage_source_place(struct kage_source *source, size_t offset, int *ret_line, int *ret_col);

/* Code points of the word or quoted text that starts at a place. */
int kage_source_word(struct kage_source *source, int line, int col);

/* Column at which a text first stands on a line; 0 if it does not. */
int kage_source_find(struct kage_source *source, int line, const char *text, size_t len);

/* One code point of s[0..n): its bytes (at least 1) and, in *cp, its value or -1 where it is not
 * valid UTF-8. */
size_t kage_text_next(const char *s, size_t n, int *cp);

/* Appends the code point to out so that no terminal acts on it; returns the cells it takes. */
int kage_text_cell(const char *s, size_t bytes, int cp, struct kage_buf *out);
