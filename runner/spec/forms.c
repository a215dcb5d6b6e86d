#include <ctype.h>
#include <string.h>

#include "runner/diag/registry.h"
#include "runner/spec/fields.h"

/* Each rule stands here twice, as a regex for the schema and the docs and as code: a regex
 * compiler would cost more than everything else `kage check` does with a small spec. A unit test
 * holds the two against each other. */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static bool spelled(const char *s, const char *first, const char *rest, size_t max)
{
    size_t n = strlen(s);
    return n >= 1 && n <= max && strchr(first, s[0]) && strspn(s + 1, rest) == n - 1;
}

static bool any(const char *s)
{
    (void)s;
    return true;
}

static bool text(const char *s)
{
    return *s != '\0';
}

static bool line(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return false;
    return true;
}

static bool name(const char *s)
{
    return spelled(s, LOWER DIGIT, LOWER DIGIT "-", 63);
}

static bool label(const char *s)
{
    return spelled(s, UPPER LOWER DIGIT "_", UPPER LOWER DIGIT "_.-", 63);
}

static bool user(const char *s)
{
    return spelled(s, LOWER "_", LOWER DIGIT "_-", 32);
}

static bool variable(const char *s)
{
    return spelled(s, UPPER LOWER "_", UPPER LOWER DIGIT "_", 255);
}

static bool absolute(const char *s)
{
    return *s == '/';
}

/* Absolute, no empty, '.' or '..' component, no slash at the end. */
static bool target(const char *s)
{
    if (strcmp(s, "/") == 0)
        return true;
    if (*s != '/')
        return false;
    while (*s == '/') {
        size_t n = strcspn(++s, "/");
        if (n == 0 || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
            return false;
        s += n;
    }
    return true;
}

/* Relative, below where it starts: no empty, '.' or '..' component; a '/' at the end is allowed.
 * '.' and './' stand for the start itself. */
static bool inside(const char *s)
{
    if (strcmp(s, ".") == 0 || strcmp(s, "./") == 0)
        return true;
    do {
        size_t n = strcspn(s, "/");
        if (n == 0 || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
            return false;
        s += n + (s[n] == '/');
    } while (*s);
    return true;
}

static bool shell(const char *s)
{
    return strcmp(s, "sh") == 0 || strcmp(s, "bash") == 0 || (s[0] == '/' && s[1]);
}

static bool url(const char *s)
{
    size_t n = strncmp(s, "https://", 8) == 0 ? 8 : strncmp(s, "http://", 7) == 0 ? 7 : 0;
    if (n == 0 || s[n] == '\0' || s[n] == '/')
        return false;
    for (s += n; *s; s++)
        if (*s <= ' ' || *s >= 0x7f || strchr("\"<>\\^`{|}", *s))
            return false;
    return true;
}

static bool digest(const char *s)
{
    return strncmp(s, "sha256:", 7) == 0 && strlen(s + 7) == 64 &&
           strspn(s + 7, DIGIT "abcdef") == 64;
}

/* "host", or 2026-01-31T12:00:00Z, with a fraction or an offset where wanted. */
static bool clock_time(const char *s)
{
    if (strcmp(s, "host") == 0)
        return true;
    static const char shape[] = "dddd-Dd-DdTDd:Dd:Dd";
    for (size_t i = 0; shape[i]; i++, s++)
        if (tolower(shape[i]) == 'd' ? !isdigit((unsigned char)*s) : *s != shape[i])
            return false;
    if (*s == '.') {
        size_t n = strspn(s + 1, DIGIT);
        if (n < 1 || n > 9)
            return false;
        s += n + 1;
    }
    if (strcmp(s, "Z") == 0)
        return true;
    return (*s == '+' || *s == '-') && strlen(s) == 6 && strspn(s + 1, DIGIT) == 2 && s[3] == ':' &&
           strspn(s + 4, DIGIT) == 2;
}

const struct kage_form_rule kage_forms[KAGE_FORM_COUNT] = {
    [KAGE_FORM_ANY] = {"^[\\s\\S]*$", any, K213_FORMAT, "a text", NULL},
    [KAGE_FORM_TEXT] = {"^[\\s\\S]+$", text, K213_FORMAT, "a text: it is empty", NULL},
    [KAGE_FORM_LINE] = {"^[^\\x00-\\x1f\\x7f]*$", line, K213_FORMAT, "a line of text",
                        "leave out line breaks, tabs and other control characters"},
    [KAGE_FORM_NAME] = {"^[a-z0-9][a-z0-9-]{0,62}$", name, K209_IDENTIFIER, "a valid name",
                        "use up to 63 lower-case letters, digits and '-'"},
    [KAGE_FORM_LABEL] = {"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$", label, K209_IDENTIFIER,
                         "a valid name", "use up to 63 letters, digits, '_', '.' and '-'"},
    [KAGE_FORM_USER] = {"^[a-z_][a-z0-9_-]{0,31}$", user, K209_IDENTIFIER, "a valid user name",
                        "use up to 32 lower-case letters, digits, '_' and '-', a letter first"},
    [KAGE_FORM_VARIABLE] = {"^[A-Za-z_][A-Za-z0-9_]{0,254}$", variable, K209_IDENTIFIER,
                            "a valid variable name", "use letters, digits and '_', no digit first"},
    [KAGE_FORM_ABSOLUTE] = {"^/[\\s\\S]*$", absolute, K213_FORMAT, "an absolute path",
                            "start it with '/'"},
    [KAGE_FORM_TARGET] = {NULL, target, K304_TARGET, "an absolute, normalised path",
                          "start with '/', leave out '.', '..', '//' and a '/' at the end"},
    [KAGE_FORM_INSIDE] = {NULL, inside, K325_ARTIFACT_PLACE, "a path inside the spec's folder",
                          "write it relative to that folder, without '.', '..' and '//'"},
    [KAGE_FORM_SHELL] = {"^(sh|bash|/[\\s\\S]+)$", shell, K205_BAD_WORD, "a shell",
                         "use sh, bash, or an absolute path"},
    [KAGE_FORM_URL] = {"^https?://[^/\\s\"<>\\\\^`{|}\\x00-\\x20\\x7f-\\uffff]"
                       "[^\\s\"<>\\\\^`{|}\\x00-\\x20\\x7f-\\uffff]*$",
                       url, K213_FORMAT, "an http or https URL", NULL},
    [KAGE_FORM_DIGEST] = {NULL, digest, K402_BAD_DIGEST, "a digest",
                          "write sha256: and 64 lower-case hex digits, as sha256sum prints them"},
    [KAGE_FORM_CLOCK] = {"^(host|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
                         "(\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))$",
                         clock_time, K213_FORMAT, "a time",
                         "write host, or a time like 2026-01-31T12:00:00Z"},
};
