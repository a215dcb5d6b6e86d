#include "runner/lsp/document.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/check/config.h"
#include "runner/spec/spec.h"
#include "runner/yaml/arena.h"
#include "runner/yaml/tree.h"

struct kage_document *kage_document_find(struct kage_documents *all, const char *uri)
{
    for (size_t i = 0; uri && i < all->n; i++)
        if (strcmp(all->items[i]->uri, uri) == 0)
            return all->items[i];
    return NULL;
}

static void free_document(struct kage_document *doc)
{
    kage_source_done(&doc->source);
    kage_diags_freep(&doc->diags);
    kage_arena_freep(&doc->arena);
    free(doc->uri);
    free(doc->path);
    free(doc->folder);
    free(doc);
}

void kage_document_close(struct kage_documents *all, const char *uri)
{
    for (size_t i = 0; uri && i < all->n; i++) {
        if (strcmp(all->items[i]->uri, uri) != 0)
            continue;
        free_document(all->items[i]);
        all->items[i] = all->items[--all->n];
        return;
    }
}

void kage_documents_done(struct kage_documents *all)
{
    while (all->n)
        free_document(all->items[--all->n]);
    free(all->items);
    *all = (struct kage_documents){0};
}

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* file:///a%20b to "/a b"; anything else has no path and is named by its last part. */
static char *path_of(const char *uri)
{
    bool file = strncmp(uri, "file://", 7) == 0;
    const char *slash = strrchr(uri, '/');
    struct kage_buf path = {0};
    for (const char *p = file ? uri + 7 : slash ? slash + 1 : uri; *p; p++) {
        bool escaped = p[0] == '%' && isxdigit((unsigned char)p[1]) &&
                       isxdigit((unsigned char)p[2]) && !(p[1] == '0' && p[2] == '0');
        kage_buf_addc(&path, escaped ? (char)(hex(p[1]) * 16 + hex(p[2])) : *p);
        p += escaped ? 2 : 0;
    }
    return kage_buf_take(&path);
}

static struct kage_document *new_document(struct kage_documents *all, const char *uri)
{
    struct kage_document *doc = kage_alloc(sizeof(*doc));
    doc->uri = kage_strdup(uri);
    doc->path = path_of(uri);
    const char *slash = strrchr(doc->path, '/');
    doc->folder = doc->path[0] == '/' ? kage_strndup(doc->path, (size_t)(slash - doc->path) + 1)
                                      : getcwd(NULL, 0);
    if (!doc->folder)
        doc->folder = kage_strdup("/");
    char *real = realpath(doc->folder, NULL);
    if (real) {
        free(doc->folder);
        doc->folder = real;
    }
    all->items = kage_array_grow(all->items, &all->cap, all->n + 1, sizeof(*all->items));
    return all->items[all->n++] = doc;
}

/* The settings of the project hold in the editor, too, but for which findings fail a check. */
static void configure(struct kage_document *doc)
{
    struct kage_check_config config = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    KAGE_CLEANUP(kage_freep) char *path = kage_check_config_find(doc->folder);
    if (path && kage_check_config_read(path, &config, &err) == 0) {
        kage_check_config_apply(&config, doc->diags);
        if (config.locked)
            kage_diags_set_severity(doc->diags, K401_NO_DIGEST, KAGE_ERROR);
    }
    kage_error_done(&err);
    kage_diags_want_notes(doc->diags, true);
}

struct kage_document *kage_document_set(struct kage_documents *all, const char *uri,
                                        const char *text)
{
    struct kage_document *doc = kage_document_find(all, uri);
    if (!doc)
        doc = new_document(all, uri);
    kage_source_done(&doc->source);
    kage_diags_freep(&doc->diags);
    size_t len = strlen(text);
    kage_source_init(&doc->source, doc->path, text, len);
    doc->diags = kage_diags_new();
    configure(doc);
    struct kage_spec *spec = NULL;
    kage_spec_load_text(doc->path, doc->folder, text, len, &spec, doc->diags);
    kage_spec_free(spec);
    /* a tree of its own, since the one of the spec is gone where there are errors */
    KAGE_CLEANUP(kage_diags_freep) struct kage_diags *ignored = kage_diags_new();
    struct kage_arena *arena = kage_arena_new();
    kage_diags_file(ignored, doc->path, text, len);
    const struct kage_node *root = kage_yaml_parse(arena, doc->path, text, len, ignored);
    doc->stale = !root || root->kind != KAGE_NODE_MAP;
    if (doc->stale) {
        kage_arena_free(arena);
    } else {
        kage_arena_freep(&doc->arena);
        doc->arena = arena;
        doc->root = root;
    }
    return doc;
}

static int units(const struct kage_documents *all, int cp)
{
    return !all->code_points && cp > 0xffff ? 2 : 1;
}

cJSON *kage_document_position(const struct kage_documents *all, struct kage_document *doc,
                              size_t offset)
{
    int line, col, cp, character = 0;
    size_t i = 0;
    if (offset > doc->source.len)
        offset = doc->source.len;
    kage_source_place(&doc->source, offset, &line, &col);
    kage_source_offset(&doc->source, line, 1, &i);
    while (i < offset) {
        i += kage_text_next(doc->source.text + i, doc->source.len - i, &cp);
        character += units(all, cp);
    }
    cJSON *position = cJSON_CreateObject();
    cJSON_AddNumberToObject(position, "line", line - 1);
    cJSON_AddNumberToObject(position, "character", character);
    return position;
}

size_t kage_document_offset(const struct kage_documents *all, struct kage_document *doc,
                            const cJSON *position)
{
    const cJSON *line = cJSON_GetObjectItem(position, "line");
    const cJSON *character = cJSON_GetObjectItem(position, "character");
    size_t i;
    if (!cJSON_IsNumber(line) || !cJSON_IsNumber(character) || line->valueint < 0 ||
        line->valueint == 0x7fffffff ||
        !kage_source_offset(&doc->source, line->valueint + 1, 1, &i))
        return doc->source.len;
    for (int seen = 0, cp; seen < character->valueint && i < doc->source.len;) {
        if (strchr("\r\n", doc->source.text[i]))
            break;
        i += kage_text_next(doc->source.text + i, doc->source.len - i, &cp);
        seen += units(all, cp);
    }
    return i;
}

cJSON *kage_document_range(const struct kage_documents *all, struct kage_document *doc,
                           size_t start, size_t end)
{
    cJSON *range = cJSON_CreateObject();
    cJSON_AddItemToObject(range, "start", kage_document_position(all, doc, start));
    cJSON_AddItemToObject(range, "end", kage_document_position(all, doc, end));
    return range;
}

cJSON *kage_document_span(const struct kage_documents *all, struct kage_document *doc,
                          const struct kage_span *at)
{
    size_t start = 0, end = 0;
    int line = at->loc.line > 0 ? at->loc.line : 1, col = at->loc.line > 0 ? at->loc.col : 1;
    kage_source_offset(&doc->source, line, col, &start);
    kage_source_offset(&doc->source, line, col + (at->width > 1 ? at->width : 1), &end);
    return kage_document_range(all, doc, start, end);
}
