#include "runner/yaml/scalar.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runner/yaml/tree.h"

static bool one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static size_t digits(const char *s)
{
    return strspn(s, "0123456789");
}

/* [-+]? [0-9]+  |  0o [0-7]+  |  0x [0-9a-fA-F]+ */
static bool is_int(const char *s)
{
    if (s[0] == '0' && s[1] == 'o')
        return s[2] && s[2 + strspn(s + 2, "01234567")] == '\0';
    if (s[0] == '0' && s[1] == 'x')
        return s[2] && s[2 + strspn(s + 2, "0123456789abcdefABCDEF")] == '\0';
    if (*s == '-' || *s == '+')
        s++;
    return *s && s[digits(s)] == '\0';
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?, infinities and NaN */
static bool is_float(const char *s)
{
    static const char *const odd[] = {".nan", ".NaN", ".NAN", NULL};
    static const char *const infinite[] = {".inf", ".Inf", ".INF", NULL};
    if (one_of(s, odd))
        return true;
    if (*s == '-' || *s == '+')
        s++;
    if (one_of(s, infinite))
        return true;
    size_t whole = digits(s), part = 0;
    s += whole;
    if (*s == '.') {
        part = digits(++s);
        s += part;
    }
    if (whole + part == 0)
        return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        if (*s == '-' || *s == '+')
            s++;
        if (!isdigit((unsigned char)*s))
            return false;
        s += digits(s);
    }
    return *s == '\0';
}

enum kage_scalar_kind kage_scalar_resolve(const struct kage_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
    if (node->style != KAGE_STYLE_PLAIN)
        return KAGE_SCALAR_STRING;
    if (one_of(node->text, nulls))
        return KAGE_SCALAR_NULL;
    if (one_of(node->text, bools))
        return KAGE_SCALAR_BOOL;
    if (is_int(node->text))
        return KAGE_SCALAR_INT;
    return is_float(node->text) ? KAGE_SCALAR_FLOAT : KAGE_SCALAR_STRING;
}

const char *kage_scalar_kind_name(enum kage_scalar_kind kind)
{
    static const char *const names[] = {
        [KAGE_SCALAR_STRING] = "a string", [KAGE_SCALAR_NULL] = "null",
        [KAGE_SCALAR_BOOL] = "a boolean",  [KAGE_SCALAR_INT] = "an integer",
        [KAGE_SCALAR_FLOAT] = "a number",
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == KAGE_SCALAR_COUNT, "a name is missing");
    return names[kind];
}

bool kage_scalar_is_old_bool(const char *text)
{
    static const char *const words[] = {"yes", "no", "on", "off", "y", "n", NULL};
    for (const char *const *w = words; *w; w++)
        if (strcasecmp(text, *w) == 0)
            return true;
    return false;
}

bool kage_scalar_is_octal_like(const char *text)
{
    if (*text == '-' || *text == '+')
        text++;
    return text[0] == '0' && text[1] && text[digits(text)] == '\0';
}

/* YAML 1.1's int: [-+]? [1-9] [0-9_]* ( : [0-5]? [0-9] )+ */
bool kage_scalar_is_sexagesimal(const char *text)
{
    if (*text == '-' || *text == '+')
        text++;
    if (*text < '1' || *text > '9')
        return false;
    text += strspn(text, "0123456789_");
    if (*text != ':')
        return false;
    while (*text == ':') {
        size_t n = digits(++text);
        if (n < 1 || n > 2 || (n == 2 && *text > '5'))
            return false;
        text += n;
    }
    return *text == '\0';
}

bool kage_scalar_bool(const struct kage_node *node)
{
    return node->text[0] == 't' || node->text[0] == 'T';
}

int kage_scalar_int(const struct kage_node *node, int64_t *ret)
{
    const char *s = node->text;
    int base = 10;
    if (s[0] == '0' && (s[1] == 'o' || s[1] == 'x')) {
        base = s[1] == 'o' ? 8 : 16;
        s += 2;
    }
    errno = 0;
    long long value = strtoll(s, NULL, base);
    if (errno)
        return -1;
    *ret = value;
    return 0;
}
