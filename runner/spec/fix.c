#include "runner/spec/fix.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "runner/spec/foreign.h"
#include "runner/spec/units.h"
#include "runner/yaml/scalar.h"

void kage_fix_scalar(struct kage_reader *r, struct kage_finding *f, const struct kage_node *node,
                     const char *text)
{
    if (node->kind == KAGE_NODE_SCALAR && node->one_line)
        kage_finding_fix(r->diags, f, node->at, text);
}

void kage_fix_quote(struct kage_reader *r, struct kage_finding *f, const struct kage_node *node)
{
    if (!strpbrk(node->text, "\"\\"))
        kage_fix_scalar(r, f, node, kage_arena_printf(r->arena, "\"%s\"", node->text));
}

/* Digits with an optional fraction, in millionths of `unit`; -1 for anything that is no whole
 * number of them. */
static int64_t number(const char **s, int64_t unit)
{
    int64_t whole = 0, part = 0, scale = 1;
    const char *p = *s;
    if (!isdigit((unsigned char)*p))
        return -1;
    for (; isdigit((unsigned char)*p); p++)
        if ((whole = whole * 10 + (*p - '0')) > 999999999)
            return -1;
    if (*p == '.') {
        for (p++; isdigit((unsigned char)*p) && scale < 1000000; p++) {
            part = part * 10 + (*p - '0');
            scale *= 10;
        }
        if (scale == 1 || isdigit((unsigned char)*p))
            return -1;
    }
    if (part * unit % scale)
        return -1;
    *s = p;
    return whole * unit + part * unit / scale;
}

const char *kage_fix_size(struct kage_reader *r, const char *text)
{
    static const char letters[] = "kmgt";
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    const char *s = text;
    while (isdigit((unsigned char)*s) || *s == '.')
        s++;
    while (*s == ' ')
        s++;
    const char *letter = *s ? strchr(letters, tolower((unsigned char)*s)) : NULL;
    /* bytes are meant when there are millions of them */
    int64_t unit = letter ? INT64_C(1024) << (10 * (letter - letters)) : 1;
    static const char *const endings[] = {"", "b", "ib", NULL};
    bool known = !*s;
    for (const char *const *end = endings; letter && *end; end++)
        known |= strcasecmp(s + 1, *end) == 0;
    const char *digits = text;
    int64_t bytes = known ? number(&digits, unit) : -1;
    if (bytes < (letter ? 1024 : 1048576) || bytes % 1024 || (!letter && bytes % 1048576))
        return NULL;
    int u = 0;
    for (bytes /= 1024; u < 2 && bytes % 1024 == 0; u++)
        bytes /= 1024;
    const char *fixed = kage_arena_printf(r->arena, "%lld%s", (long long)bytes, units[u]);
    uint64_t ignored;
    return kage_parse_size(fixed, &ignored) ? fixed : NULL;
}

static int64_t unit_of(const char *s, size_t n)
{
    static const struct {
        const char *names;
        int64_t ms;
    } units[] = {
        {" ms msec msecs millisecond milliseconds ", 1},
        {" s sec secs second seconds ", 1000},
        {" m min mins minute minutes ", 60000},
        {" h hr hrs hour hours ", 3600000},
        {" d day days ", 86400000},
    };
    char word[16];
    if (n == 0 || n + 3 > sizeof(word))
        return -1;
    word[0] = ' ';
    for (size_t i = 0; i < n; i++)
        word[i + 1] = (char)tolower((unsigned char)s[i]);
    word[n + 1] = ' ';
    word[n + 2] = '\0';
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strstr(units[i].names, word))
            return units[i].ms;
    return -1;
}

const char *kage_fix_duration(struct kage_reader *r, const char *text)
{
    const char *s = text;
    int64_t sum = 0;
    while (*s) {
        const char *digits = s;
        while (isdigit((unsigned char)*s) || *s == '.')
            s++;
        s += strspn(s, " ");
        size_t n = 0;
        while (isalpha((unsigned char)s[n]))
            n++;
        int64_t unit = unit_of(s, n), value = unit < 0 ? -1 : number(&digits, unit);
        if (value < 0)
            return NULL;
        sum += value;
        s += n;
        s += strspn(s, " ,");
    }
    if (sum <= 0 || sum > INT64_C(3600000) * 999999)
        return NULL;
    char *out = kage_arena_strdup(r->arena, "");
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    for (size_t i = 0; i < 4; i++) {
        if (sum / units[i].ms)
            out = kage_arena_printf(r->arena, "%s%lld%s", out, (long long)(sum / units[i].ms),
                                    units[i].name);
        sum %= units[i].ms;
    }
    return out;
}

/* "My Job!" to "my-job". */
static char *slug(struct kage_reader *r, const char *text)
{
    char *name = kage_arena_strdup(r->arena, text);
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= 0x80)
            return NULL; /* there is no telling how to spell it in ASCII */
        if (isalnum(c))
            name[n++] = (char)tolower(c);
        else if (n && name[n - 1] != '-')
            name[n++] = '-';
    }
    while (n && name[n - 1] == '-')
        n--;
    name[n] = '\0';
    return name;
}

/* "/a//b/./c/" to "/a/b/c"; what '..' leads to only the guest knows. */
static char *normal_path(struct kage_reader *r, const char *text)
{
    char *path = kage_arena_strdup(r->arena, text);
    size_t n = 0;
    if (text[0] != '/')
        return NULL;
    for (const char *p = text; *p;) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            return NULL;
        if (len && !(len == 1 && p[0] == '.')) {
            path[n++] = '/';
            memmove(path + n, p, len);
            n += len;
        }
        p += len;
    }
    if (n == 0)
        path[n++] = '/';
    path[n] = '\0';
    return path;
}

/* 64 hex digits are a sha256, whatever stands before them. */
static char *digest(struct kage_reader *r, const char *text)
{
    const char *hex = text;
    if (strncasecmp(hex, "sha256", 6) == 0)
        hex += 6;
    hex += hex > text && strchr(":-=", *hex) != NULL;
    if (strlen(hex) != 64 || strspn(hex, "0123456789abcdefABCDEF") != 64)
        return NULL;
    char *fixed = kage_arena_printf(r->arena, "sha256:%s", hex);
    for (char *p = fixed; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return fixed;
}

const char *kage_fix_string(struct kage_reader *r, const struct kage_field *field, const char *text)
{
    char *fixed = NULL;
    if (field->form == KAGE_FORM_NAME)
        fixed = slug(r, text);
    else if (field->form == KAGE_FORM_TARGET)
        fixed = normal_path(r, text);
    else if (field->form == KAGE_FORM_DIGEST)
        fixed = digest(r, text);
    return fixed && kage_forms[field->form].match(fixed) ? fixed : NULL;
}

/* Whether a value can be what the field wants, judged by its kind alone. */
static bool fits(const struct kage_field *f, const struct kage_node *value)
{
    bool scalar = value->kind == KAGE_NODE_SCALAR;
    if (value->broken)
        return false;
    switch (f->shape) {
    case KAGE_SHAPE_LIST:
        return value->kind == KAGE_NODE_LIST;
    case KAGE_SHAPE_ONE_OR_LIST:
        return value->kind != KAGE_NODE_MAP;
    case KAGE_SHAPE_MAP:
        return value->kind == KAGE_NODE_MAP;
    case KAGE_SHAPE_ONE:
        break;
    }
    if (f->type == KAGE_FIELD_OBJECT)
        return value->kind == KAGE_NODE_MAP || (scalar && kage_objects[f->object].scalar);
    return f->type == KAGE_FIELD_MATRIX ? value->kind == KAGE_NODE_MAP : scalar;
}

void kage_fix_key(struct kage_reader *r, struct kage_finding *f, enum kage_object_id object,
                  const struct kage_node *map, const struct kage_pair *pair, const char *name)
{
    const struct kage_field *field = kage_field_find(object, name);
    if (field && !kage_node_find(map, name) && fits(field, pair->value))
        kage_finding_fix_word(r->diags, f, pair->key->at, pair->key->text, name);
}

/* `key: value` becomes ours, both at once. */
static void fix_both(struct kage_reader *r, struct kage_finding *f, const struct kage_node *map,
                     const struct kage_pair *pair, const char *key, const char *value)
{
    if (kage_node_find(map, key) || !pair->value->one_line)
        return;
    kage_finding_fix_word(r->diags, f, pair->key->at, pair->key->text, key);
    if (f->n_edits)
        kage_fix_scalar(r, f, pair->value, value);
}

static bool is_bool(const struct kage_node *node, bool *ret)
{
    if (node->kind != KAGE_NODE_SCALAR || kage_scalar_resolve(node) != KAGE_SCALAR_BOOL)
        return false;
    *ret = kage_scalar_bool(node);
    return true;
}

/* if: ${{ always() }} */
static const char *when_of(const char *condition)
{
    static const struct {
        const char *theirs, *ours;
    } words[] = {{"always()", "always"}, {"failure()", "on-failure"}, {"success()", "on-success"}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const char *at = strstr(condition, words[i].theirs);
        size_t n = strlen(words[i].theirs);
        if (at && strspn(condition, " ${") == (size_t)(at - condition) &&
            at[n + strspn(at + n, " }")] == '\0')
            return words[i].ours;
    }
    return NULL;
}

void kage_fix_foreign(struct kage_reader *r, struct kage_finding *f,
                      const struct kage_foreign *foreign, const struct kage_node *map,
                      const struct kage_pair *pair)
{
    const char *word = foreign->word, *text = pair->value->text;
    bool scalar = pair->value->kind == KAGE_NODE_SCALAR, on;
    if (pair->value->broken)
        return;
    if (strcmp(word, "timeout-minutes") == 0 && scalar && *text >= '1' && *text <= '9' &&
        strspn(text, "0123456789") == strlen(text) && strlen(text) <= 9) {
        fix_both(r, f, map, pair, "timeout", kage_arena_printf(r->arena, "%sm", text));
    } else if (strcmp(word, "if") == 0 && scalar && when_of(text)) {
        fix_both(r, f, map, pair, "when", when_of(text));
    } else if (strncmp(foreign->ours, "writable: ", 10) == 0 && is_bool(pair->value, &on)) {
        fix_both(r, f, map, pair, "writable", on ? "false" : "true");
    } else if (strncmp(foreign->ours, "digest: ", 8) == 0 && scalar && digest(r, text)) {
        fix_both(r, f, map, pair, "digest", digest(r, text));
    } else if (strcmp(foreign->ours, "exec") == 0 && scalar) {
        kage_fix_key(r, f, foreign->object, map, pair, "run");
    } else if (!strchr(foreign->ours, ' ')) {
        kage_fix_key(r, f, foreign->object, map, pair, foreign->ours);
    }
}
