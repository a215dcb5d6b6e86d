#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/lsp/features.h"

/* Findings as diagnostics, and their fixes as code actions. */

static void add_text(cJSON *to, const char *key, const char *text)
{
    cJSON_AddStringToObject(to, key, text);
}

static cJSON *related(const struct kage_documents *all, struct kage_document *doc,
                      const struct kage_finding *f)
{
    cJSON *list = cJSON_CreateArray(), *item = cJSON_CreateObject();
    cJSON *location = cJSON_AddObjectToObject(item, "location");
    add_text(location, "uri", doc->uri);
    cJSON_AddItemToObject(location, "range", kage_document_span(all, doc, &f->also));
    add_text(item, "message", f->also_message);
    cJSON_AddItemToArray(list, item);
    return list;
}

static cJSON *diagnostic(const struct kage_documents *all, struct kage_document *doc,
                         const struct kage_finding *f)
{
    static const int severities[] = {[KAGE_ERROR] = 1, [KAGE_WARNING] = 2, [KAGE_NOTE] = 3};
    cJSON *d = cJSON_CreateObject();
    KAGE_CLEANUP(kage_freep) char *code = kage_asprintf("K%d", f->code);
    KAGE_CLEANUP(kage_freep)
    char *message =
        kage_asprintf("%s%s%s", f->message, f->help ? "\n" : "", f->help ? f->help : "");
    cJSON_AddItemToObject(d, "range", kage_document_span(all, doc, &f->at));
    cJSON_AddNumberToObject(d, "severity", severities[f->severity]);
    add_text(d, "code", code);
    add_text(d, "source", "kage");
    add_text(d, "message", message);
    if (f->also.loc.line > 0)
        cJSON_AddItemToObject(d, "relatedInformation", related(all, doc, f));
    if (f->code == K116_UNUSED_ANCHOR || f->code == K303_UNUSED_SHARE ||
        f->code == K901_UNUSED_IGNORE) {
        cJSON *tags = cJSON_AddArrayToObject(d, "tags");
        cJSON_AddItemToArray(tags, cJSON_CreateNumber(1)); /* DiagnosticTag.Unnecessary */
    }
    return d;
}

cJSON *kage_lsp_diagnostics(const struct kage_documents *all, struct kage_document *doc)
{
    cJSON *list = cJSON_CreateArray();
    size_t n;
    struct kage_finding *const *findings = kage_diags_list(doc->diags, &n);
    for (size_t i = 0; i < n; i++)
        cJSON_AddItemToArray(list, diagnostic(all, doc, findings[i]));
    return list;
}

static void finding_bytes(struct kage_document *doc, const struct kage_finding *f, size_t *start,
                          size_t *end)
{
    int line = f->at.loc.line > 0 ? f->at.loc.line : 1,
        col = f->at.loc.line > 0 ? f->at.loc.col : 1;
    *start = *end = 0;
    kage_source_offset(&doc->source, line, col, start);
    kage_source_offset(&doc->source, line, col + (f->at.width > 1 ? f->at.width : 1), end);
}

static cJSON *action(const struct kage_documents *all, struct kage_document *doc, const char *title,
                     const struct kage_finding *f, const struct kage_edit *edits, size_t n)
{
    cJSON *a = cJSON_CreateObject();
    add_text(a, "title", title);
    add_text(a, "kind", "quickfix");
    if (f) {
        cJSON_AddItemToArray(cJSON_AddArrayToObject(a, "diagnostics"), diagnostic(all, doc, f));
        cJSON_AddBoolToObject(a, "isPreferred", f->n_edits > 0 && edits == f->edits);
    }
    cJSON *changes = cJSON_AddObjectToObject(cJSON_AddObjectToObject(a, "edit"), "changes");
    cJSON *list = cJSON_AddArrayToObject(changes, doc->uri);
    for (size_t i = 0; i < n; i++) {
        cJSON *edit = cJSON_CreateObject();
        cJSON_AddItemToObject(edit, "range",
                              kage_document_range(all, doc, edits[i].start, edits[i].end));
        add_text(edit, "newText", edits[i].text);
        cJSON_AddItemToArray(list, edit);
    }
    return a;
}

/* A comment on the line above that silences the finding, for those that can be. */
static cJSON *silence(const struct kage_documents *all, struct kage_document *doc,
                      const struct kage_finding *f)
{
    size_t start;
    if (!kage_source_offset(&doc->source, f->at.loc.line, 1, &start))
        return NULL;
    int indent = (int)strspn(doc->source.text + start, " ");
    KAGE_CLEANUP(kage_freep) char *title = kage_asprintf("Ignore K%d here", f->code);
    struct kage_edit edit = {start, start,
                             kage_asprintf("%*s# kage: ignore=K%d -- \n", indent, "", f->code)};
    cJSON *a = action(all, doc, title, f, &edit, 1);
    kage_freep(&edit.text);
    return a;
}

cJSON *kage_lsp_actions(const struct kage_documents *all, struct kage_document *doc, size_t start,
                        size_t end)
{
    cJSON *list = cJSON_CreateArray();
    size_t n, fixes = 0;
    struct kage_finding *const *findings = kage_diags_list(doc->diags, &n);
    for (size_t i = 0; i < n; i++) {
        const struct kage_finding *f = findings[i];
        size_t from, to;
        finding_bytes(doc, f, &from, &to);
        fixes += f->n_edits > 0;
        if (from > end || to < start)
            continue;
        if (f->n_edits) {
            KAGE_CLEANUP(kage_freep)
            char *title = kage_asprintf("K%d: %s", f->code, f->help ? f->help : f->message);
            cJSON_AddItemToArray(list, action(all, doc, title, f, f->edits, f->n_edits));
        }
        cJSON *ignore = f->severity != KAGE_ERROR && f->code != K901_UNUSED_IGNORE
                            ? silence(all, doc, f)
                            : NULL;
        if (ignore)
            cJSON_AddItemToArray(list, ignore);
    }
    if (fixes > 1) {
        size_t len, fixed;
        KAGE_CLEANUP(kage_freep) char *text = kage_diags_apply(doc->diags, doc->path, &len, &fixed);
        struct kage_edit whole = {0, doc->source.len, text};
        if (text)
            cJSON_AddItemToArray(
                list, action(all, doc, "Fix all that kage is certain about", NULL, &whole, 1));
    }
    return list;
}
