#include <stdlib.h>
#include <string.h>

#include "runner/spec/fix.h"
#include "runner/spec/reader.h"
#include "runner/spec/suggest.h"
#include "runner/spec/units.h"
#include "runner/yaml/scalar.h"
#include "runner/yaml/syntax.h"

static const char *const wanted[] = {
    [KAGE_FIELD_VERSION] = "the integer 1", [KAGE_FIELD_STRING] = "a string",
    [KAGE_FIELD_SCALAR] = "a single value", [KAGE_FIELD_INT] = "an integer",
    [KAGE_FIELD_BOOL] = "true or false",    [KAGE_FIELD_WORD] = "a word",
    [KAGE_FIELD_SIZE] = "a size",           [KAGE_FIELD_DURATION] = "a duration",
    [KAGE_FIELD_FORWARD] = "a string",      [KAGE_FIELD_OBJECT] = "a map",
    [KAGE_FIELD_MATRIX] = "a map",
};
_Static_assert(sizeof(wanted) / sizeof(wanted[0]) == KAGE_FIELD_COUNT, "a field type is missing");

/* Words of other tools, and near misses no edit distance finds. */
static const struct {
    const char *field, *word, *ours;
} word_aliases[] = {
    {"arch", "amd64", "x86_64"},       {"arch", "x64", "x86_64"},
    {"arch", "x86-64", "x86_64"},      {"arch", "arm64", "aarch64"},
    {"arch", "armv8", "aarch64"},      {"type", "bind", "share"},
    {"type", "9p", "share"},           {"type", "virtiofs", "share"},
    {"type", "memory", "tmpfs"},       {"type", "ram", "tmpfs"},
    {"type", "ramfs", "tmpfs"},        {"type", "volume", "disk"},
    {"when", "failure", "on-failure"}, {"when", "failure()", "on-failure"},
    {"when", "success", "on-success"}, {"when", "success()", "on-success"},
    {"when", "always()", "always"},    {"when", "never", NULL},
    {"sandbox", "off", "none"},        {"sandbox", "false", "none"},
    {"sandbox", "no", "none"},         {"sandbox", "on", "default"},
    {"accel", "qemu", "tcg"},          {"accel", "none", "tcg"},
    {"outbound", "yes", "on"},         {"outbound", "no", "off"},
    {"network", "yes", "on"},          {"network", "no", "off"},
    {"network", "none", "off"},        {"outbound", "none", "off"},
    {"network", "bridge", "on"},       {"outbound", "bridge", "on"},
    {"network", "host", "on"},         {"outbound", "host", "on"},
};

const char *kage_where_text(struct kage_reader *r, const struct kage_where *w)
{
    if (w->item)
        return kage_arena_printf(r->arena, "an item of '%s'", w->field->name);
    if (w->key)
        return kage_arena_printf(r->arena, "'%s' in '%s'",
                                 kage_diags_show(r->diags, w->key->text, w->key->len),
                                 w->field->name);
    return kage_arena_printf(r->arena, "'%s'", w->label ? w->label : w->field->name);
}

static const char *show(struct kage_reader *r, const char *text)
{
    return kage_diags_show(r->diags, text, strlen(text));
}

/* What to do about a value of the wrong type; NULL when there is nothing simple to say. */
static const char *type_help(struct kage_reader *r, const struct kage_where *w,
                             const struct kage_node *node, bool scalar_wanted)
{
    const struct kage_field *f = w->field;
    bool scalar = node->kind == KAGE_NODE_SCALAR;
    const char *text = scalar ? show(r, node->text) : "";
    if (scalar && scalar_wanted && node->style != KAGE_STYLE_PLAIN) {
        struct kage_node bare = *node;
        bare.style = KAGE_STYLE_PLAIN;
        enum kage_scalar_kind kind = kage_scalar_resolve(&bare);
        if ((f->type == KAGE_FIELD_INT && kind == KAGE_SCALAR_INT) ||
            (f->type == KAGE_FIELD_BOOL && kind == KAGE_SCALAR_BOOL))
            return kage_arena_printf(r->arena, "leave out the quotes: %s", text);
        return NULL;
    }
    if (scalar && scalar_wanted && f->type == KAGE_FIELD_STRING)
        return kage_arena_printf(r->arena, "quote it: \"%s\"", text);
    if (scalar && !scalar_wanted && f->shape == KAGE_SHAPE_LIST && f->type != KAGE_FIELD_OBJECT) {
        if (strcmp(f->name, "exec") == 0)
            return "write [PROGRAM, ARG, ...], or use 'run' for a script";
        return kage_arena_printf(r->arena, "write [%s]", text);
    }
    if (f->shape == KAGE_SHAPE_MAP && node->kind == KAGE_NODE_LIST && !w->key)
        return "write NAME: VALUE lines, without '- '";
    if (f->shape == KAGE_SHAPE_LIST && node->kind == KAGE_NODE_MAP && !w->item)
        return "start each item with '- '";
    return NULL;
}

/* What type_help() says, done. */
static void fix_type(struct kage_reader *r, const struct kage_where *w,
                     const struct kage_node *node, struct kage_finding *finding)
{
    const struct kage_field *f = w->field;
    const struct kage_form_rule *rule = &kage_forms[f->form];
    bool item = f->shape == KAGE_SHAPE_ONE || w->item || w->key;
    if (node->kind != KAGE_NODE_SCALAR)
        return;
    if (item && node->style != KAGE_STYLE_PLAIN)
        kage_fix_scalar(r, finding, node, node->text);
    else if (item && (!rule->match || rule->match(node->text)))
        kage_fix_quote(r, finding, node);
    else if (f->shape == KAGE_SHAPE_LIST && strcmp(f->name, "exec") != 0 &&
             node->style == KAGE_STYLE_PLAIN && !strpbrk(node->text, ",[]{}\"'"))
        kage_fix_scalar(r, finding, node, kage_arena_printf(r->arena, "[%s]", node->text));
}

void kage_report_type(struct kage_reader *r, const struct kage_where *w,
                      const struct kage_node *node, const char *want)
{
    struct kage_finding *f;
    if (node->broken)
        return;
    const char *where = kage_where_text(r, w);
    bool plain = node->kind == KAGE_NODE_SCALAR && node->style == KAGE_STYLE_PLAIN;
    if (plain && kage_scalar_resolve(node) == KAGE_SCALAR_NULL) {
        f = kage_diags_add(r->diags, K115_EMPTY_VALUE, node->at, "%s has no value", where);
        if (w->field->type == KAGE_FIELD_SCALAR && w->field->shape == KAGE_SHAPE_MAP && w->key)
            kage_finding_help(f, "write \"\" for an empty text");
        else if (w->item)
            kage_finding_help(f, "leave the item out, or give it a value");
        else
            kage_finding_help(f, "leave the key out, or give it a value");
        return;
    }
    size_t key_len;
    bool map_wanted = strcmp(want, "a map") == 0;
    if (plain && map_wanted && kage_yaml_lacks_space(node->text, node->len, &key_len)) {
        f = kage_diags_add(r->diags, K114_MISSING_SPACE, node->at,
                           "'%s' is one word to YAML, not a key and a value",
                           kage_diags_show(r->diags, node->text, node->len));
        kage_finding_help(f, "put a space after '%.*s:'", (int)key_len, node->text);
        struct kage_span gap = {node->at.loc, 0};
        gap.loc.col += (int)key_len + 1;
        kage_finding_fix_between(r->diags, f, gap, " ");
        return;
    }
    f = kage_diags_add(r->diags, K203_WRONG_TYPE, node->at, "%s must be %s, not %s", where, want,
                       kage_node_kind_name(node));
    const char *help = type_help(r, w, node, !map_wanted && strcmp(want, "a list") != 0);
    if (help)
        kage_finding_help(f, "%s", help);
    if (help)
        fix_type(r, w, node, f);
}

/* Plain scalars that mean something else to YAML 1.1: refused wherever a reader of the file could
 * be misled, which is everywhere but in lists and maps of free text. */
static bool report_ambiguous(struct kage_reader *r, const struct kage_where *w,
                             const struct kage_node *node)
{
    enum kage_field_type type = w->field->type;
    if (node->style != KAGE_STYLE_PLAIN || type == KAGE_FIELD_SCALAR || type == KAGE_FIELD_WORD)
        return false;
    struct kage_finding *f;
    const char *where = kage_where_text(r, w), *text = node->text;
    /* y and n mislead hardly any reader, and are good names */
    bool old_bool = kage_scalar_is_old_bool(text) && (text[1] || type == KAGE_FIELD_BOOL);
    if (old_bool && type != KAGE_FIELD_INT) {
        f = kage_diags_add(r->diags, K103_BOOLEAN, node->at,
                           "%s: '%s' is a boolean to some YAML readers and a text to others", where,
                           text);
        bool on = strchr("yYoO", text[0]) && strcasecmp(text, "off") != 0;
        if (type == KAGE_FIELD_BOOL) {
            kage_finding_help(f, "write %s", on ? "true" : "false");
            kage_fix_scalar(r, f, node, on ? "true" : "false");
        } else {
            kage_finding_help(f, "quote it: \"%s\"", text);
            kage_fix_quote(r, f, node);
        }
        return true;
    }
    if (type == KAGE_FIELD_BOOL)
        return false;
    if (kage_scalar_is_octal_like(text)) {
        f = kage_diags_add(r->diags, K104_OCTAL, node->at,
                           "%s: '%s' is octal to some YAML readers and decimal to others", where,
                           show(r, text));
        const char *digits = text + strspn(text, "+-0");
        if (type == KAGE_FIELD_INT) {
            kage_finding_help(f, "write %s, or 0o%s if octal is meant", *digits ? digits : "0",
                              *digits ? digits : "0");
            /* which is what it is to YAML 1.2, and none of the numbers here is a mode */
            kage_fix_scalar(r, f, node, *digits ? digits : "0");
        } else {
            kage_finding_help(f, "quote it: \"%s\"", show(r, text));
            kage_fix_quote(r, f, node);
        }
        return true;
    }
    if (kage_scalar_is_sexagesimal(text)) {
        f = kage_diags_add(r->diags, K105_SEXAGESIMAL, node->at,
                           "%s: '%s' is a number in base 60 to some YAML readers", where,
                           show(r, text));
        kage_finding_help(f, "quote it: \"%s\"", show(r, text));
        kage_fix_quote(r, f, node);
        return true;
    }
    return false;
}

static void store(void *out, size_t size, int64_t value)
{
    if (size == 1)
        *(uint8_t *)out = (uint8_t)value;
    else if (size == 2)
        *(uint16_t *)out = (uint16_t)value;
    else if (size == 4)
        *(uint32_t *)out = (uint32_t)value;
    else
        *(uint64_t *)out = (uint64_t)value;
}

/* 134217728 as "128MiB", in the largest unit that gives a whole number. */
static const char *size_text(struct kage_reader *r, int64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    int u = 0;
    for (bytes /= 1024; u < 2 && bytes % 1024 == 0; u++)
        bytes /= 1024;
    return kage_arena_printf(r->arena, "%lld%s", (long long)bytes, units[u]);
}

static bool in_range(struct kage_reader *r, const struct kage_where *w,
                     const struct kage_node *node, int64_t value)
{
    const struct kage_field *f = w->field;
    if ((f->min == 0 && f->max == 0) || (value >= f->min && value <= f->max))
        return true;
    struct kage_finding *finding = kage_diags_add(r->diags, K208_RANGE, node->at, "%s cannot be %s",
                                                  kage_where_text(r, w), show(r, node->text));
    if (f->type == KAGE_FIELD_SIZE)
        kage_finding_help(finding, "use %s to %s", size_text(r, f->min), size_text(r, f->max));
    else
        kage_finding_help(finding, "use %lld to %lld", (long long)f->min, (long long)f->max);
    return false;
}

static bool decode_int(struct kage_reader *r, const struct kage_where *w,
                       const struct kage_node *node, void *out)
{
    int64_t value = 0;
    if (kage_scalar_resolve(node) != KAGE_SCALAR_INT) {
        kage_report_type(r, w, node, wanted[KAGE_FIELD_INT]);
        return false;
    }
    /* what does not even fit 64 bits is out of every range */
    if (kage_scalar_int(node, &value) < 0)
        value = node->text[0] == '-' ? INT64_MIN : INT64_MAX;
    if (!in_range(r, w, node, value))
        return false;
    store(out, w->field->size, value);
    return true;
}

static bool decode_word(struct kage_reader *r, const struct kage_where *w,
                        const struct kage_node *node, const char *text, void *out)
{
    const struct kage_field *f = w->field;
    for (const struct kage_word *word = f->words; word->word; word++) {
        if (strcmp(text, word->word) == 0) {
            store(out, f->size, word->value);
            return true;
        }
    }
    struct kage_finding *finding =
        kage_diags_add(r->diags, K205_BAD_WORD, node->at, "%s cannot be '%s'",
                       kage_where_text(r, w), show(r, text));
    struct kage_suggestion s = {0};
    struct kage_buf list = {0};
    for (const struct kage_word *word = f->words; word->word; word++) {
        if (strcmp(word->word, "true") == 0 || strcmp(word->word, "false") == 0)
            continue;
        kage_suggest(&s, text, word->word, word->word);
        kage_buf_addf(&list, "%s%s", list.len ? ", " : "", word->word);
    }
    for (size_t i = 0; i < sizeof(word_aliases) / sizeof(word_aliases[0]); i++)
        if (strcmp(word_aliases[i].field, f->name) == 0 &&
            strcasecmp(word_aliases[i].word, text) == 0)
            s = (struct kage_suggestion){.best = word_aliases[i].ours};
    if (s.best)
        kage_finding_help(finding, "did you mean '%s'?", s.best);
    if (kage_suggestion_is_certain(&s))
        kage_finding_fix_word(r->diags, finding, node->at, text, s.best);
    else
        kage_finding_help(finding, "use one of: %s", list.data);
    kage_buf_done(&list);
    return false;
}

static bool decode_size(struct kage_reader *r, const struct kage_where *w,
                        const struct kage_node *node, const char *text, void *out)
{
    uint64_t bytes;
    if (kage_parse_size(text, &bytes)) {
        if (!in_range(r, w, node, (int64_t)bytes))
            return false;
        store(out, w->field->size, (int64_t)bytes);
        return true;
    }
    struct kage_finding *f = kage_diags_add(r->diags, K207_SIZE, node->at, "%s: '%s' is not a size",
                                            kage_where_text(r, w), show(r, text));
    size_t n = strspn(text, "0123456789");
    char unit = n ? text[n] : '\0';
    if (n && n < 10 && unit && text[0] != '0' && strchr("kKmMgG", unit) && strlen(text + n) <= 3)
        kage_finding_help(f, "write %.*s%ciB", (int)n, text,
                          unit >= 'a' ? unit - ('a' - 'A') : unit);
    else if (kage_fix_size(r, text))
        kage_finding_help(f, "write %s", kage_fix_size(r, text));
    else if (n && text[n] == '.')
        kage_finding_help(f, "use a whole number of a smaller unit, like 1536MiB");
    else
        kage_finding_help(f, "write a number with KiB, MiB or GiB, like 512MiB");
    if (kage_fix_size(r, text))
        kage_finding_fix_word(r->diags, f, node->at, text, kage_fix_size(r, text));
    return false;
}

static bool decode_duration(struct kage_reader *r, const struct kage_where *w,
                            const struct kage_node *node, const char *text, void *out)
{
    uint64_t ms;
    if (kage_parse_duration(text, &ms)) {
        store(out, w->field->size, (int64_t)ms);
        return true;
    }
    struct kage_finding *f =
        kage_diags_add(r->diags, K206_DURATION, node->at, "%s: '%s' is not a duration",
                       kage_where_text(r, w), show(r, text));
    size_t n = strspn(text, "0123456789");
    if (n && n < 10 && text[n] == '\0' && text[0] != '0')
        kage_finding_help(f, "give it a unit: %ss or %sm", text, text);
    else if (kage_fix_duration(r, text))
        kage_finding_help(f, "write %s", kage_fix_duration(r, text));
    else
        kage_finding_help(f, "write it like 500ms, 90s, 10m or 1h30m");
    if (kage_fix_duration(r, text))
        kage_finding_fix_word(r->diags, f, node->at, text, kage_fix_duration(r, text));
    return false;
}

static bool decode_forward(struct kage_reader *r, const struct kage_where *w,
                           const struct kage_node *node, const char *text, void *out)
{
    struct kage_spec_forward *forward = out;
    char addr[16];
    const char *wrong =
        kage_parse_forward(text, addr, &forward->host_port, &forward->guest_port, &forward->udp);
    if (wrong) {
        struct kage_finding *f =
            kage_diags_add(r->diags, K213_FORMAT, node->at, "'%s' is not a forwarded port: %s",
                           show(r, text), wrong);
        kage_finding_help(f, "write it like \"8080:80\" or \"127.0.0.1:5353:53/udp\"");
        return false;
    }
    forward->loc = node->at.loc;
    forward->address = kage_arena_strdup(r->arena, *addr ? addr : "127.0.0.1");
    return true;
}

static bool decode_string(struct kage_reader *r, const struct kage_where *w,
                          const struct kage_node *node, char *text, void *out)
{
    const struct kage_form_rule *rule = &kage_forms[w->field->form];
    if (rule->match && !rule->match(text)) {
        struct kage_finding *f;
        if (*text)
            f = kage_diags_add(r->diags, rule->code, node->at, "%s: '%s' is not %s",
                               kage_where_text(r, w), show(r, text), rule->what);
        else
            f = kage_diags_add(r->diags, rule->code, node->at, "%s cannot be empty",
                               kage_where_text(r, w));
        if (rule->help)
            kage_finding_help(f, "%s", rule->help);
        const char *fixed = kage_fix_string(r, w->field, text);
        if (fixed)
            kage_finding_fix_word(r->diags, f, node->at, text, fixed);
        if (rule->code == K402_BAD_DIGEST)
            *(char **)out = text; /* wrong, but not missing as well */
        return false;
    }
    *(char **)out = text;
    return true;
}

/* Which kinds of plain scalars a type takes; what they then hold is judged by its decoder. */
static bool kind_fits(enum kage_field_type type, enum kage_scalar_kind kind)
{
    if (kind == KAGE_SCALAR_NULL)
        return false;
    if (type == KAGE_FIELD_STRING || type == KAGE_FIELD_FORWARD)
        return kind == KAGE_SCALAR_STRING;
    return true;
}

bool kage_decode(struct kage_reader *r, const struct kage_where *w, const struct kage_node *node,
                 void *out)
{
    enum kage_field_type type = w->field->type;
    if (node->broken)
        return false;
    if (node->kind != KAGE_NODE_SCALAR) {
        kage_report_type(r, w, node, wanted[type]);
        return false;
    }
    if (report_ambiguous(r, w, node))
        return false;
    enum kage_scalar_kind kind = kage_scalar_resolve(node);
    if (!kind_fits(type, kind)) {
        kage_report_type(r, w, node, wanted[type]);
        return false;
    }
    if (type == KAGE_FIELD_INT)
        return decode_int(r, w, node, out);
    if (type == KAGE_FIELD_BOOL) {
        if (kind != KAGE_SCALAR_BOOL) {
            kage_report_type(r, w, node, wanted[type]);
            return false;
        }
        store(out, w->field->size, kage_scalar_bool(node));
        return true;
    }
    char *text =
        w->field->raw ? node->text : kage_expand(r, node, strcmp(w->field->name, "exec") == 0);
    if (!text)
        return false;
    switch (type) {
    case KAGE_FIELD_SCALAR:
        *(char **)out = text;
        return true;
    case KAGE_FIELD_WORD:
        return decode_word(r, w, node, text, out);
    case KAGE_FIELD_SIZE:
        return decode_size(r, w, node, text, out);
    case KAGE_FIELD_DURATION:
        return decode_duration(r, w, node, text, out);
    case KAGE_FIELD_FORWARD:
        return decode_forward(r, w, node, text, out);
    default:
        return decode_string(r, w, node, text, out);
    }
}
