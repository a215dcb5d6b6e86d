#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/spec/reader.h"

/* One ${…}, taken apart. */
struct reference {
    const char *name;
    size_t name_len;
    char op;          /* '-' default, '?' message, 0 neither */
    const char *rest; /* what follows op */
    size_t rest_len;
    size_t len; /* of the whole, from '$' to '}' */
};

static bool take_apart(const char *s, struct reference *ref)
{
    const char *close = strchr(s, '}');
    if (!close)
        return false;
    *ref = (struct reference){.name = s + 2, .len = (size_t)(close - s) + 1};
    const char *p = ref->name;
    while (isalnum((unsigned char)*p) || *p == '_' || (*p == '.' && p > ref->name))
        p++;
    ref->name_len = (size_t)(p - ref->name);
    if (ref->name_len == 0 || isdigit((unsigned char)ref->name[0]))
        return false;
    if (p == close)
        return true;
    if (p[0] != ':' || (p[1] != '-' && p[1] != '?'))
        return false;
    ref->op = p[1];
    ref->rest = p + 2;
    ref->rest_len = (size_t)(close - ref->rest);
    /* a second ${ inside the default would end at the wrong brace */
    return !memchr(ref->rest, '$', ref->rest_len);
}

static struct kage_span inside(const struct kage_node *node, size_t offset, size_t len)
{
    struct kage_span at = node->at;
    if (!node->one_line)
        return at;
    int chars = node->style == KAGE_STYLE_QUOTED ? 1 : 0;
    for (size_t i = 0; i < offset; i++)
        chars += (node->text[i] & 0xc0) != 0x80;
    at.loc.col += chars;
    at.width = (int)len;
    return at;
}

static bool listed(const struct kage_reader *r, const char *name, size_t n)
{
    const struct kage_node *list = r->host_env;
    for (size_t i = 0; list && list->kind == KAGE_NODE_LIST && i < list->n; i++) {
        const struct kage_node *item = list->items[i];
        if (item->kind == KAGE_NODE_SCALAR && item->len == n && memcmp(item->text, name, n) == 0)
            return true;
    }
    return false;
}

static bool add_value(struct kage_reader *r, const struct reference *ref, struct kage_span at,
                      struct kage_buf *out)
{
    struct kage_finding *f;
    const char *name = kage_arena_strndup(r->arena, ref->name, ref->name_len);
    const char *shown = kage_diags_show(r->diags, name, ref->name_len);
    if (strncmp(name, "matrix.", 7) == 0) {
        kage_diags_add(r->diags, K212_UNSUPPORTED, at,
                       "'matrix' is not supported by this version of kage yet");
        return false;
    }
    if (strchr(name, '.')) {
        f = kage_diags_add(r->diags, K322_BAD_REFERENCE, at, "'%s' is not a variable name", shown);
        kage_finding_help(f, "write \"$${\" for the characters themselves");
        return false;
    }
    if (!listed(r, name, ref->name_len)) {
        f = kage_diags_add(r->diags, K312_NOT_IN_HOST_ENV, at, "variable '%s' is not in host-env",
                           shown);
        kage_finding_help(f,
                          "add host-env: [%s] to read it on the host, or write \"$${%s}\" to "
                          "leave it to the guest",
                          shown, shown);
        return false;
    }
    const char *value = getenv(name);
    if (ref->op && value && !*value)
        value = NULL;
    if (value && !kage_utf8_valid(value, strlen(value))) {
        kage_diags_add(r->diags, K111_ENCODING, at, "the value of variable '%s' is not valid UTF-8",
                       shown);
        return false;
    }
    if (value) {
        kage_buf_adds(out, value);
        return true;
    }
    if (ref->op == '-') {
        kage_buf_add(out, ref->rest, ref->rest_len);
        return true;
    }
    if (ref->op == '?' && ref->rest_len) {
        kage_diags_add(r->diags, K321_UNSET_VARIABLE, at, "variable '%s' is not set: %s", shown,
                       kage_diags_show(r->diags, ref->rest, ref->rest_len));
        return false;
    }
    f = kage_diags_add(r->diags, K321_UNSET_VARIABLE, at, "variable '%s' is not set", shown);
    kage_finding_help(f, "set it, or give a default: ${%s:-...}", shown);
    return false;
}

char *kage_expand(struct kage_reader *r, const struct kage_node *node)
{
    const char *s = node->text;
    if (!strstr(s, "${"))
        return node->text;
    struct kage_buf out = {0};
    bool ok = true;
    while (*s) {
        const char *dollar = strchr(s, '$');
        if (!dollar) {
            kage_buf_adds(&out, s);
            break;
        }
        kage_buf_add(&out, s, (size_t)(dollar - s));
        s = dollar;
        if (s[1] == '$' && s[2] == '{') {
            kage_buf_adds(&out, "${");
            s += 3;
            continue;
        }
        if (s[1] != '{') {
            kage_buf_addc(&out, *s++);
            continue;
        }
        struct reference ref;
        if (!take_apart(s, &ref)) {
            const char *close = strchr(s, '}');
            size_t len = close ? (size_t)(close - s) + 1 : strlen(s);
            struct kage_finding *f = kage_diags_add(
                r->diags, K322_BAD_REFERENCE, inside(node, (size_t)(s - node->text), len),
                "'%s' is not a reference to a variable", kage_diags_show(r->diags, s, len));
            kage_finding_help(f, "write ${X}, ${X:-default} or ${X:?message}, or \"$${\" for the "
                                 "characters themselves");
            ok = false;
            s += len;
            continue;
        }
        ok &= add_value(r, &ref, inside(node, (size_t)(s - node->text), ref.len), &out);
        s += ref.len;
    }
    char *text = ok ? kage_arena_strndup(r->arena, out.data ? out.data : "", out.len) : NULL;
    kage_buf_done(&out);
    return text;
}
