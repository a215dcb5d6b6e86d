#pragma once

#include <cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "runner/diag/diag.h"
#include "runner/diag/source.h"

struct kage_arena;
struct kage_node;

/* A file that is open in the editor, as it is there, and what is known about it. */
struct kage_document {
    char *uri, *path, *folder; /* path: what findings call it; folder: absolute */
    struct kage_source source;
    struct kage_diags *diags;
    struct kage_arena *arena;
    const struct kage_node *root; /* of the last text that was YAML; NULL: none was */
    bool stale;                   /* that was another text: names in it hold, places do not */
};

struct kage_documents {
    struct kage_document **items;
    size_t n, cap;
    bool code_points; /* the client counts them; otherwise UTF-16 units */
};

struct kage_document *kage_document_find(struct kage_documents *all, const char *uri);

/* Takes over a new text, and judges it. */
struct kage_document *kage_document_set(struct kage_documents *all, const char *uri,
                                        const char *text);
void kage_document_close(struct kage_documents *all, const char *uri);
void kage_documents_done(struct kage_documents *all);

/* {line, character} of a byte, and back; a place outside the text is moved to its edge. */
cJSON *kage_document_position(const struct kage_documents *all, struct kage_document *doc,
                              size_t offset);
size_t kage_document_offset(const struct kage_documents *all, struct kage_document *doc,
                            const cJSON *position);
cJSON *kage_document_range(const struct kage_documents *all, struct kage_document *doc,
                           size_t start, size_t end);
cJSON *kage_document_span(const struct kage_documents *all, struct kage_document *doc,
                          const struct kage_span *at);
