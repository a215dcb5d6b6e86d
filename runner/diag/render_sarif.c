#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/diag/render.h"
#include "runner/diag/source.h"

/*
 * SARIF 2.1.0 (OASIS Standard, 27 March 2020), as much of it as code scanning reads:
 * https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
 * Every rule has help; every result has a region and a fingerprint that survives moving the line.
 */
#define SCHEMA "https://json.schemastore.org/sarif-2.1.0.json"

static void add_text(struct kage_buf *out, const char *key, const char *text)
{
    kage_buf_addf(out, "\"%s\":{\"text\":", key);
    kage_render_json_string(out, text);
    kage_buf_addc(out, '}');
}

static void add_example(struct kage_buf *text, bool markdown, const char *what, const char *example)
{
    kage_buf_addf(text, "\n%s:\n\n%s%s%s", what, markdown ? "```yaml\n" : "", example,
                  markdown ? "```\n" : "");
}

static void add_help(struct kage_buf *out, const struct kage_code *code)
{
    kage_buf_adds(out, ",\"help\":{");
    for (int markdown = 0; markdown < 2; markdown++) {
        struct kage_buf text = {0};
        kage_buf_addf(&text, "%s\n", code->why);
        add_example(&text, markdown, "Wrong", code->bad);
        add_example(&text, markdown, "Right", code->good);
        kage_buf_adds(out, markdown ? ",\"markdown\":" : "\"text\":");
        kage_render_json_string(out, text.data);
        kage_buf_done(&text);
    }
    kage_buf_addc(out, '}');
}

static void add_rule(struct kage_buf *out, const struct kage_code *code)
{
    const char *level = kage_severity_name(code->severity);
    kage_buf_addf(out, "{\"id\":\"K%d\",", code->number);
    add_text(out, "shortDescription", code->title);
    kage_buf_addc(out, ',');
    add_text(out, "fullDescription", code->why);
    add_help(out, code);
    /* what kage calls a note, code scanning calls a recommendation */
    kage_buf_addf(out,
                  ",\"defaultConfiguration\":{\"level\":\"%s\"},\"properties\":{\"tags\":[\"%s\"],"
                  "\"precision\":\"%s\",\"problem.severity\":\"%s\"}}",
                  level, code->number / 100 == 4 ? "security" : "correctness",
                  code->severity == KAGE_ERROR ? "very-high" : "high",
                  code->severity == KAGE_NOTE ? "recommendation" : level);
}

/* A file name as a URI reference (RFC 3986): relative names stay relative to where kage ran, which
 * is the root of the checkout in most workflows. */
static void add_uri(struct kage_buf *out, const char *file)
{
    struct kage_buf uri = {0};
    if (!file)
        file = "kage";
    if (file[0] == '/')
        kage_buf_adds(&uri, "file://");
    while (file[0] == '.' && file[1] == '/')
        file += 2;
    for (const char *p = file; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._~/", c);
        kage_buf_addf(&uri, plain ? "%c" : "%%%02X", c);
    }
    kage_buf_adds(out, "\"artifactLocation\":{\"uri\":");
    kage_render_json_string(out, uri.data ? uri.data : "");
    kage_buf_addc(out, '}');
    kage_buf_done(&uri);
}

static void add_location(struct kage_buf *out, const struct kage_span *at)
{
    /* a finding about the whole file still needs a region to be shown at */
    int line = at->loc.line > 0 ? at->loc.line : 1, col = at->loc.line > 0 ? at->loc.col : 1;
    kage_buf_adds(out, "{\"physicalLocation\":{");
    add_uri(out, at->loc.file);
    kage_buf_addf(out,
                  ",\"region\":{\"startLine\":%d,\"startColumn\":%d,\"endLine\":%d,"
                  "\"endColumn\":%d}}",
                  line, col, line, col + (at->width > 1 ? at->width : 1));
}

/* FNV-1a (Fowler, Noll, Vo) of the code and the line without its blanks: indenting a spec anew or
 * adding lines above leaves it alone. */
static uint64_t hash_line(struct kage_diags *diags, const struct kage_finding *f)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct kage_source *source = kage_diags_source(diags, f->at.loc.file);
    size_t start = 0;
    hash = (hash ^ f->code) * UINT64_C(0x100000001b3);
    if (!source || !kage_source_offset(source, f->at.loc.line, 1, &start))
        return hash;
    for (; start < source->len && !strchr("\r\n", source->text[start]); start++)
        if (!strchr(" \t", source->text[start]))
            hash = (hash ^ (unsigned char)source->text[start]) * UINT64_C(0x100000001b3);
    return hash;
}

static void add_fix(struct kage_buf *out, struct kage_diags *diags, const struct kage_finding *f)
{
    struct kage_source *source = kage_diags_source(diags, f->at.loc.file);
    if (!source || !f->n_edits)
        return;
    kage_buf_adds(out, ",\"fixes\":[{");
    add_text(out, "description", f->help ? f->help : "what --fix does");
    kage_buf_adds(out, ",\"artifactChanges\":[{");
    add_uri(out, f->at.loc.file);
    kage_buf_adds(out, ",\"replacements\":[");
    for (size_t i = 0; i < f->n_edits; i++) {
        const struct kage_edit *e = &f->edits[i];
        int line, col, end_line, end_col;
        kage_source_place(source, e->start, &line, &col);
        kage_source_place(source, e->end, &end_line, &end_col);
        kage_buf_addf(out,
                      "%s{\"deletedRegion\":{\"startLine\":%d,\"startColumn\":%d,\"endLine\":%d,"
                      "\"endColumn\":%d},",
                      i ? "," : "", line, col, end_line, end_col);
        add_text(out, "insertedContent", e->text);
        kage_buf_addc(out, '}');
    }
    kage_buf_adds(out, "]}]}]");
}

static size_t rule_index(int number)
{
    size_t n;
    const struct kage_code *codes = kage_codes(&n);
    return (size_t)(kage_code_find(number) - codes);
}

static void add_result(struct kage_buf *out, struct kage_diags *diags, const struct kage_finding *f,
                       uint64_t hash, unsigned occurrence)
{
    kage_buf_addf(out, "{\"ruleId\":\"K%d\",\"ruleIndex\":%zu,\"level\":\"%s\",", f->code,
                  rule_index((int)f->code), kage_severity_name(f->severity));
    struct kage_buf message = {0};
    kage_buf_addf(&message, "%s%s%s", f->message, f->help ? "; " : "", f->help ? f->help : "");
    add_text(out, "message", message.data);
    kage_buf_done(&message);
    kage_buf_adds(out, ",\"locations\":[");
    add_location(out, &f->at);
    kage_buf_adds(out, "}]");
    if (f->also.loc.line > 0) {
        kage_buf_adds(out, ",\"relatedLocations\":[");
        add_location(out, &f->also);
        kage_buf_addc(out, ',');
        add_text(out, "message", f->also_message);
        kage_buf_adds(out, "}]");
    }
    add_fix(out, diags, f);
    kage_buf_addf(out, ",\"partialFingerprints\":{\"primaryLocationLineHash\":\"%016llx:%u\"}}",
                  (unsigned long long)hash, occurrence);
}

void kage_render_sarif(struct kage_diags *diags, struct kage_buf *out)
{
    size_t n, n_codes;
    const struct kage_code *codes = kage_codes(&n_codes);
    struct kage_finding *const *list = kage_diags_list(diags, &n);
    kage_buf_adds(out, "{\"$schema\":\"" SCHEMA "\",\"version\":\"2.1.0\",\"runs\":[{\"tool\":{"
                       "\"driver\":{\"name\":\"kage\",\"semanticVersion\":\"" KAGE_VERSION
                       "\",\"rules\":[");
    for (size_t i = 0; i < n_codes; i++) {
        kage_buf_adds(out, i ? ",\n" : "\n");
        add_rule(out, &codes[i]);
    }
    kage_buf_adds(out, "\n]}},\"columnKind\":\"unicodeCodePoints\",\"results\":[");
    uint64_t *hashes = kage_alloc((n + 1) * sizeof(*hashes));
    for (size_t i = 0; i < n; i++) {
        unsigned occurrence = 1;
        hashes[i] = hash_line(diags, list[i]);
        for (size_t k = 0; k < i; k++)
            occurrence += hashes[k] == hashes[i];
        kage_buf_adds(out, i ? ",\n" : "\n");
        add_result(out, diags, list[i], hashes[i], occurrence);
    }
    free(hashes);
    kage_buf_adds(out, n ? "\n]}]}\n" : "]}]}\n");
}
