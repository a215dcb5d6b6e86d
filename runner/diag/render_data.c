#include "runner/diag/render.h"

#include <stdlib.h>
#include <string.h>

#include "runner/diag/source.h"

/* JSON text. Messages are printable already; a file name may hold any byte, and what is not UTF-8
 * in it becomes U+FFFD, since JSON cannot say it. */
void kage_render_json_string(struct kage_buf *out, const char *s)
{
    size_t n = strlen(s);
    kage_buf_addc(out, '"');
    for (size_t i = 0; i < n;) {
        int cp;
        size_t bytes = kage_text_next(s + i, n - i, &cp);
        if (cp < 0)
            kage_buf_adds(out, "\xef\xbf\xbd");
        else if (cp == '"' || cp == '\\')
            kage_buf_addf(out, "\\%c", cp);
        else if (cp < 0x20 || cp == 0x7f)
            kage_buf_addf(out, "\\u%04x", (unsigned)cp);
        else
            kage_buf_add(out, s + i, bytes);
        i += bytes;
    }
    kage_buf_addc(out, '"');
}

static void add_json_place(struct kage_buf *out, const struct kage_span *at)
{
    kage_buf_adds(out, "\"file\":");
    if (at->loc.file)
        kage_render_json_string(out, at->loc.file);
    else
        kage_buf_adds(out, "null");
    if (at->loc.line > 0)
        kage_buf_addf(out, ",\"line\":%d,\"column\":%d,\"end_column\":%d", at->loc.line,
                      at->loc.col, at->loc.col + (at->width > 1 ? at->width : 1));
}

static void add_json_fix(struct kage_buf *out, struct kage_source *source,
                         const struct kage_finding *f)
{
    for (size_t i = 0; i < f->n_edits; i++) {
        const struct kage_edit *e = &f->edits[i];
        int line, col, end_line, end_col;
        kage_source_place(source, e->start, &line, &col);
        kage_source_place(source, e->end, &end_line, &end_col);
        kage_buf_addf(out,
                      "%s{\"line\":%d,\"column\":%d,\"end_line\":%d,\"end_column\":%d,\"text\":",
                      i ? "," : ",\"fix\":[", line, col, end_line, end_col);
        kage_render_json_string(out, e->text);
        kage_buf_adds(out, i + 1 == f->n_edits ? "}]" : "}");
    }
}

void kage_render_json(struct kage_diags *diags, struct kage_buf *out)
{
    size_t n;
    struct kage_finding *const *list = kage_diags_list(diags, &n);
    kage_buf_adds(out, "{\"version\":1,\"findings\":[");
    for (size_t i = 0; i < n; i++) {
        const struct kage_finding *f = list[i];
        kage_buf_addf(out, "%s\n{\"code\":\"K%d\",\"severity\":\"%s\",", i ? "," : "", f->code,
                      kage_severity_name(f->severity));
        add_json_place(out, &f->at);
        kage_buf_adds(out, ",\"message\":");
        kage_render_json_string(out, f->message);
        if (f->help) {
            kage_buf_adds(out, ",\"help\":");
            kage_render_json_string(out, f->help);
        }
        if (f->also.loc.line > 0) {
            kage_buf_adds(out, ",\"related\":[{");
            add_json_place(out, &f->also);
            kage_buf_adds(out, ",\"message\":");
            kage_render_json_string(out, f->also_message);
            kage_buf_adds(out, "}]");
        }
        add_json_fix(out, kage_diags_source(diags, f->at.loc.file), f);
        kage_buf_addc(out, '}');
    }
    kage_buf_addf(out, "%s],\"errors\":%zu,\"warnings\":%zu,\"notes\":%zu}\n", n ? "\n" : "",
                  kage_diags_count(diags, KAGE_ERROR), kage_diags_count(diags, KAGE_WARNING),
                  kage_diags_count(diags, KAGE_NOTE));
}

/* Escapes as actions/toolkit's command.ts does; properties also lose ':' and ','. Anything else
 * that a log viewer might act on is made printable first. */
static void add_workflow_text(struct kage_buf *out, const char *s, bool property)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) {
        int cp;
        size_t bytes = kage_text_next(s + i, n - i, &cp);
        if (cp == '%' || cp == '\r' || cp == '\n' || (property && (cp == ':' || cp == ',')))
            kage_buf_addf(out, "%%%02X", (unsigned)cp);
        else
            kage_text_cell(s + i, bytes, cp, out);
        i += bytes;
    }
}

/* Most severe first: GitHub shows only the first ten annotations of each kind in a step. */
void kage_render_github(struct kage_diags *diags, struct kage_buf *out)
{
    static const char *const commands[] = {
        [KAGE_NOTE] = "notice", [KAGE_WARNING] = "warning", [KAGE_ERROR] = "error"};
    size_t n;
    struct kage_finding *const *list = kage_diags_list(diags, &n);
    for (int severity = KAGE_SEVERITY_COUNT - 1; severity >= 0; severity--) {
        for (size_t i = 0; i < n; i++) {
            const struct kage_finding *f = list[i];
            if ((int)f->severity != severity)
                continue;
            kage_buf_addf(out, "::%s ", commands[severity]);
            if (f->at.loc.file) {
                /* As the paths of a change are written: annotations find their lines by text. */
                const char *file = f->at.loc.file;
                while (strncmp(file, "./", 2) == 0)
                    file += 2 + strspn(file + 2, "/");
                kage_buf_adds(out, "file=");
                add_workflow_text(out, file, true);
                kage_buf_addc(out, ',');
            }
            if (f->at.loc.line > 0)
                kage_buf_addf(out, "line=%d,col=%d,endColumn=%d,", f->at.loc.line, f->at.loc.col,
                              f->at.loc.col + (f->at.width > 1 ? f->at.width : 1));
            kage_buf_addf(out, "title=K%d::", f->code);
            add_workflow_text(out, f->message, false);
            if (f->help) {
                kage_buf_adds(out, "%0Ahelp: ");
                add_workflow_text(out, f->help, false);
            }
            kage_buf_addc(out, '\n');
        }
    }
}
