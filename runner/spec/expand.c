#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/spec/reader.h"
#include "runner/spec/suggest.h"

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

/* One text while it is expanded. Columns are counted on from reference to reference. */
struct expansion {
    const struct kage_node *node;
    size_t counted; /* bytes, and the code points they are */
    int chars;
    struct kage_buf out;
};

static struct kage_span inside(struct expansion *e, const char *from, size_t len)
{
    struct kage_span at = e->node->at;
    if (!e->node->one_line)
        return at;
    for (; e->node->text + e->counted < from; e->counted++)
        e->chars += (e->node->text[e->counted] & 0xc0) != 0x80;
    at.loc.col += e->chars + (e->node->style == KAGE_STYLE_QUOTED);
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

/* The secret that is read from this variable of the host; NULL if none is. */
static const char *secret_from(const struct kage_reader *r, const char *variable)
{
    const struct kage_node *map = r->secrets;
    for (size_t i = 0; map && map->kind == KAGE_NODE_MAP && i < map->n; i++) {
        const struct kage_node *secret = map->pairs[i].value;
        const struct kage_pair *env =
            secret->kind == KAGE_NODE_MAP ? kage_node_find(secret, "env") : NULL;
        if (env && env->value->kind == KAGE_NODE_SCALAR && strcmp(env->value->text, variable) == 0)
            return map->pairs[i].key->text;
    }
    return NULL;
}

/* All values together. Many references to a large variable could fill the memory otherwise. */
#define MAX_EXPANDED ((size_t)4 * 1024 * 1024)

static bool add_text(struct kage_reader *r, const char *text, size_t n, struct kage_span at,
                     struct kage_buf *out)
{
    if (r->expanded > MAX_EXPANDED)
        return false; /* reported when the limit was passed */
    r->expanded += n;
    if (r->expanded > MAX_EXPANDED) {
        kage_diags_add(r->diags, K112_TOO_BIG, at, "variables bring in more than 4 MiB of text");
        return false;
    }
    kage_buf_add(out, text, n);
    return true;
}

static bool add_choice(struct kage_reader *r, const struct reference *ref, const char *axis,
                       struct kage_span at, struct kage_buf *out)
{
    struct kage_finding *f;
    struct kage_suggestion s = {0};
    r->matrix_used = true;
    if (ref->op) {
        f = kage_diags_add(
            r->diags, K322_BAD_REFERENCE, at,
            "every job has a value on each axis: there is no default to fall back to");
        kage_finding_help(f, "write ${matrix.%s}", axis);
        return false;
    }
    for (size_t i = 0; i < r->n_matrix; i++) {
        if (strcmp(r->matrix[i].axis, axis) == 0)
            return add_text(r, r->matrix[i].value, strlen(r->matrix[i].value), at, out);
        kage_suggest(&s, axis, r->matrix[i].axis, r->matrix[i].axis);
    }
    if (r->matrix_broken)
        return false;
    f = kage_diags_add(r->diags, K313_UNDEFINED_AXIS, at, "the matrix has no axis '%s'", axis);
    if (s.best)
        kage_finding_help(f, "did you mean '%s'?", s.best);
    else if (r->n_matrix == 0)
        kage_finding_help(f, "add matrix: {%s: [...]}", axis);
    return false;
}

static void check_argument(struct kage_reader *r, const char *variable, struct kage_span at)
{
    const char *secret = secret_from(r, variable);
    if (!secret)
        return;
    struct kage_finding *f = kage_diags_add(r->diags, K405_SECRET_IN_ARGV, at,
                                            "this puts secret '%s' into a command line",
                                            kage_diags_show(r->diags, secret, strlen(secret)));
    kage_finding_help(f, "list it in the command's 'secrets', and let the program read its "
                         "environment");
}

static bool add_value(struct kage_reader *r, const struct reference *ref, struct kage_span at,
                      bool argument, struct kage_buf *out)
{
    struct kage_finding *f;
    KAGE_CLEANUP(kage_freep) char *name = kage_strndup(ref->name, ref->name_len);
    const char *shown = name; /* letters, digits, '_' and '.' */
    if (strncmp(name, "matrix.", 7) == 0)
        return add_choice(r, ref, name + 7, at, out);
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
    if (argument)
        check_argument(r, name, at);
    const char *value = getenv(name);
    if (ref->op && value && !*value)
        value = NULL;
    if (value && !kage_utf8_valid(value, strlen(value))) {
        kage_diags_add(r->diags, K111_ENCODING, at, "the value of variable '%s' is not valid UTF-8",
                       shown);
        return false;
    }
    if (value)
        return add_text(r, value, strlen(value), at, out);
    if (ref->op == '-')
        return add_text(r, ref->rest, ref->rest_len, at, out);
    if (ref->op == '?' && ref->rest_len) {
        kage_diags_add(r->diags, K321_UNSET_VARIABLE, at, "variable '%s' is not set: %s", shown,
                       kage_diags_show(r->diags, ref->rest, ref->rest_len));
        return false;
    }
    f = kage_diags_add(r->diags, K321_UNSET_VARIABLE, at, "variable '%s' is not set", shown);
    kage_finding_help(f, "set it, or give a default: ${%s:-...}", shown);
    return false;
}

char *kage_expand(struct kage_reader *r, const struct kage_node *node, bool argument)
{
    const char *s = node->text;
    if (!strstr(s, "${"))
        return node->text;
    struct expansion e = {.node = node};
    bool ok = true;
    while (*s) {
        const char *dollar = strchr(s, '$');
        if (!dollar) {
            kage_buf_adds(&e.out, s);
            break;
        }
        kage_buf_add(&e.out, s, (size_t)(dollar - s));
        s = dollar;
        if (s[1] == '$' && s[2] == '{') {
            kage_buf_adds(&e.out, "${");
            s += 3;
            continue;
        }
        if (s[1] != '{') {
            kage_buf_addc(&e.out, *s++);
            continue;
        }
        struct reference ref;
        if (!take_apart(s, &ref)) {
            const char *close = strchr(s, '}');
            size_t len = close ? (size_t)(close - s) + 1 : strlen(s);
            struct kage_finding *f = kage_diags_add(
                r->diags, K322_BAD_REFERENCE, inside(&e, s, len),
                "'%s' is not a reference to a variable", kage_diags_show(r->diags, s, len));
            kage_finding_help(f, "write ${X}, ${X:-default} or ${X:?message}, or \"$${\" for the "
                                 "characters themselves");
            ok = false;
            s += len;
            continue;
        }
        ok &= add_value(r, &ref, inside(&e, s, ref.len), argument, &e.out);
        s += ref.len;
    }
    char *text = ok ? kage_arena_strndup(r->arena, e.out.data ? e.out.data : "", e.out.len) : NULL;
    kage_buf_done(&e.out);
    return text;
}
