#include "runner/yaml/syntax.h"

#include <ctype.h>
#include <string.h>

#include "common/base/text.h"
#include "runner/diag/diag.h"
#include "runner/diag/source.h"
#include "runner/yaml/tree.h"

/* Bad bytes are reported line by line; a binary file has them everywhere. */
#define MAX_ENCODING_FINDINGS 8

static struct kage_span span(const char *file, int line, int col, int width)
{
    return (struct kage_span){{file, line, col}, width};
}

/* YAML 1.2's c-printable, without U+0085, U+2028 and U+2029: libyaml follows YAML 1.1 and folds
 * these three like line ends, so a text holding one would not stay what it is. */
static bool allowed(int cp)
{
    if (cp < 0x20)
        return cp == '\t' || cp == '\n' || cp == '\r';
    return cp < 0x7f ||
           (cp >= 0xa0 && cp < 0xfffe && cp != 0x2028 && cp != 0x2029 && cp != 0xfeff) ||
           cp > 0xffff;
}

static void report_character(const char *file, int line, int col, int cp, unsigned char byte,
                             struct kage_diags *diags)
{
    struct kage_finding *f;
    if (cp < 0) {
        f = kage_diags_add(diags, K111_ENCODING, span(file, line, col, 1),
                           "byte 0x%02x is not part of valid UTF-8", byte);
        kage_finding_help(f, "save the file as UTF-8");
    } else if (cp == 0x85 || cp == 0x2028 || cp == 0x2029) {
        f = kage_diags_add(diags, K111_ENCODING, span(file, line, col, 1),
                           "U+%04X is a line break to some YAML readers", (unsigned)cp);
        kage_finding_help(f, "write \"\\u%04x\" in double quotes", (unsigned)cp);
    } else {
        f = kage_diags_add(diags, K111_ENCODING, span(file, line, col, 1),
                           "character U+%04X is not allowed in YAML", (unsigned)cp);
        if (cp <= 0xff)
            kage_finding_help(f, "write \"\\x%02x\" in double quotes if it is meant", (unsigned)cp);
        else
            kage_finding_help(f, "write \"\\u%04x\" in double quotes if it is meant", (unsigned)cp);
    }
}

static bool check_characters(const char *file, const char *text, size_t len,
                             struct kage_diags *diags)
{
    int line = 1, col = 1, reported_line = 0, reported = 0;
    for (size_t i = 0; i < len;) {
        unsigned char byte = (unsigned char)text[i];
        int cp = byte;
        size_t bytes = byte < 0x80 ? 1 : kage_text_next(text + i, len - i, &cp);
        if ((cp < 0 || !allowed(cp)) && line != reported_line) {
            if (reported++ == MAX_ENCODING_FINDINGS)
                return false;
            report_character(file, line, col, cp, byte, diags);
            reported_line = line;
        }
        i += bytes;
        col++;
        if (cp == '\n' || (cp == '\r' && !(i < len && text[i] == '\n'))) {
            line++;
            col = 1;
        }
    }
    return reported == 0;
}

/* libyaml compares each %TAG with those before it: a file full of them would keep it busy for
 * seconds. A spec has no tags, so it needs none. */
#define MAX_TAG_DIRECTIVES 16

static bool check_directives(const char *file, const char *text, size_t len,
                             struct kage_diags *diags)
{
    int seen = 0, number = 1;
    for (const char *line = text, *end = text + len; line < end; number++) {
        const char *stop = line;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        if (*line == '%' && stop - line > 4 && memcmp(line, "%TAG", 4) == 0 &&
            ++seen > MAX_TAG_DIRECTIVES) {
            struct kage_finding *f =
                kage_diags_add(diags, K112_TOO_BIG, span(file, number, 1, 4),
                               "more than %d %%TAG directives", MAX_TAG_DIRECTIVES);
            kage_finding_help(f, "leave them out; a spec has no tags");
            return false;
        }
        line = stop + 1 + (stop + 1 < end && stop[0] == '\r' && stop[1] == '\n');
    }
    return true;
}

bool kage_yaml_check_text(const char *file, const char *text, size_t len, struct kage_diags *diags)
{
    if (len > KAGE_YAML_MAX_BYTES) {
        struct kage_finding *f = kage_diags_add(diags, K112_TOO_BIG, span(file, 0, 0, 0),
                                                "the file is larger than 1 MiB");
        kage_finding_help(f, "a spec names files; put their content next to it and share it");
        return false;
    }
    if (len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0)) {
        kage_finding_help(
            kage_diags_add(diags, K111_ENCODING, span(file, 0, 0, 0), "the file is UTF-16"),
            "save it as UTF-8");
        return false;
    }
    if (memchr(text, '\0', len)) {
        kage_finding_help(kage_diags_add(diags, K111_ENCODING, span(file, 0, 0, 0),
                                         "the file has NUL bytes: it is not a text"),
                          "a spec is a YAML file");
        return false;
    }
    return check_characters(file, text, len, diags) && check_directives(file, text, len, diags);
}

/* Start and length of a line (without its end); false if there is no such line. */
static bool find_line(const char *text, size_t len, int line, const char **start, size_t *n)
{
    const char *s = text, *end = text + len;
    for (int i = 1; i < line; i++) {
        s = memchr(s, '\n', (size_t)(end - s));
        if (!s)
            return false;
        s++;
    }
    const char *stop = memchr(s, '\n', (size_t)(end - s));
    *start = s;
    *n = (size_t)((stop ? stop : end) - s);
    return line >= 1;
}

bool kage_yaml_lacks_space(const char *s, size_t n, size_t *key_len)
{
    size_t i = 0;
    while (i < n && (isalnum((unsigned char)s[i]) || s[i] == '-' || s[i] == '_'))
        i++;
    if (i == 0 || !isalpha((unsigned char)s[0]) || i + 1 >= n || s[i] != ':')
        return false;
    /* a URL has no space either */
    if (strchr(" \t\r:", s[i + 1]) || (s[i + 1] == '/' && i + 2 < n && s[i + 2] == '/'))
        return false;
    *key_len = i;
    return true;
}

/* Spaces of the least indented line that has some. */
static int indentation(const char *text, size_t len)
{
    size_t least = 0;
    for (size_t i = 0; i < len;) {
        size_t n = 0;
        while (i + n < len && text[i + n] == ' ')
            n++;
        if (n > 1 && (!least || n < least) && i + n < len && !strchr("\t\r\n#", text[i + n]))
            least = n;
        const char *end = memchr(text + i, '\n', len - i);
        i = end ? (size_t)(end - text) + 1 : len;
    }
    return least && least <= 8 ? (int)least : 2;
}

/* Lines mended by one finding; those behind them are the next round's. */
#define MAX_TABS 1000

/* Where the tabs come first on their line, each is a level. Whoever indents one line with them
 * indents others, too: all are mended at once. */
static void fix_tabs(const char *text, size_t len, struct kage_finding *f, struct kage_diags *diags)
{
    int unit = indentation(text, len);
    for (size_t i = 0; i < len && f->n_edits < MAX_TABS;) {
        size_t tabs = 0;
        while (i + tabs < len && text[i + tabs] == '\t')
            tabs++;
        char spaces[256];
        if (tabs && tabs * (size_t)unit < sizeof(spaces)) {
            memset(spaces, ' ', tabs * (size_t)unit);
            spaces[tabs * (size_t)unit] = '\0';
            kage_finding_fix_bytes(diags, f, i, i + tabs, spaces);
        }
        const char *end = memchr(text + i, '\n', len - i);
        i = end ? (size_t)(end - text) + 1 : len;
    }
}

static bool report_tab(const char *file, const char *text, size_t len, const char *line, size_t n,
                       int number, struct kage_diags *diags)
{
    size_t i = 0;
    while (i < n && line[i] == ' ')
        i++;
    if (i >= n || line[i] != '\t')
        return false;
    size_t end = i;
    while (end < n && line[end] == '\t')
        end++;
    struct kage_finding *f =
        kage_diags_add(diags, K101_TAB, span(file, number, (int)i + 1, (int)(end - i)),
                       "a tab cannot indent YAML");
    kage_finding_help(f, "use spaces");
    if (i == 0)
        fix_tabs(text, len, f, diags);
    return true;
}

static bool report_lacks_space(const char *file, const char *line, size_t n, int number,
                               struct kage_diags *diags)
{
    size_t i = 0, key;
    while (i < n && (line[i] == ' ' || (line[i] == '-' && i + 1 < n && line[i + 1] == ' ')))
        i++;
    if (!kage_yaml_lacks_space(line + i, n - i, &key))
        return false;
    size_t word = i;
    while (word < n && !isspace((unsigned char)line[word]))
        word++;
    struct kage_finding *f =
        kage_diags_add(diags, K114_MISSING_SPACE, span(file, number, (int)i + 1, (int)(word - i)),
                       "'%s' is one word to YAML, not a key and a value",
                       kage_diags_show(diags, line + i, word - i));
    kage_finding_help(f, "put a space after '%.*s:'", (int)key, line + i);
    kage_finding_fix_between(diags, f, span(file, number, (int)(i + key) + 2, 0), " ");
    return true;
}

/* The whole item gets the quotes: what else stands between the commas around it. */
static void fix_bare_reference(const char *file, const char *line, size_t n, int number,
                               size_t start, size_t end, struct kage_finding *f,
                               struct kage_diags *diags)
{
    while (start > 0 && !strchr(",[{", line[start - 1]) &&
           !(line[start - 1] == ' ' && start > 1 && line[start - 2] == ':'))
        start--;
    start += strspn(line + start, " ");
    for (; end < n && !strchr(",]}#\r", line[end]); end++)
        if (line[end] == '$' && end + 1 < n && line[end + 1] == '{') {
            const char *close = memchr(line + end, '}', n - end);
            if (!close)
                return;
            end = (size_t)(close - line);
        }
    while (end > start && line[end - 1] == ' ')
        end--;
    struct kage_buf quoted = {0};
    kage_buf_addf(&quoted, "\"%.*s\"", (int)(end - start), line + start);
    int first = 1, width = 0;
    for (size_t i = 0; i < end; i++) {
        bool character = (line[i] & 0xc0) != 0x80;
        first += i < start && character;
        width += i >= start && character;
    }
    if (!memchr(line + start, '"', end - start) && !memchr(line + start, '\\', end - start) &&
        !memchr(line + start, '\'', end - start))
        kage_finding_fix(diags, f, span(file, number, first, width), quoted.data);
    kage_buf_done(&quoted);
}

/* libyaml stops at the '{' of a bare ${…} in a flow list, or at what follows it. */
static bool report_bare_reference(const char *file, const char *line, size_t n, int number, int col,
                                  struct kage_diags *diags)
{
    size_t best = n;
    int chars = 0, best_col = 0;
    for (size_t i = 0; i + 1 < n && chars < col; i++) {
        chars += (line[i] & 0xc0) != 0x80;
        if (line[i] != '$' || line[i + 1] != '{' || (i > 0 && line[i - 1] == '"'))
            continue;
        best = i;
        best_col = chars;
    }
    if (best == n)
        return false;
    const char *close = memchr(line + best, '}', n - best);
    size_t len = close ? (size_t)(close - line) - best + 1 : 2;
    int width = 0;
    for (size_t i = best; i < best + len; i++)
        width += (line[i] & 0xc0) != 0x80;
    struct kage_finding *f =
        kage_diags_add(diags, K113_BARE_REFERENCE, span(file, number, best_col, width),
                       "${...} inside [ ] or { } needs quotes");
    kage_finding_help(f, "write \"%s\"", kage_diags_show(diags, line + best, len));
    if (close)
        fix_bare_reference(file, line, n, number, best, best + len, f, diags);
    return true;
}

/* A line that is nothing but `key: …` and yet cannot be a key: the line above has a value already.
 */
static bool report_too_deep(const char *file, const char *line, size_t n, struct kage_yaml_place at,
                            struct kage_diags *diags)
{
    size_t first = 0;
    while (first < n && line[first] == ' ')
        first++;
    size_t end = first;
    while (end < n && (isalnum((unsigned char)line[end]) || strchr("-_.", line[end])))
        end++;
    if (first == 0 || end == first || (int)end + 1 != at.col)
        return false;
    struct kage_finding *f =
        kage_diags_add(diags, K100_SYNTAX, span(file, at.line, (int)first + 1, (int)(end - first)),
                       "this key is indented under a line that has a value already");
    kage_finding_help(f, "indent it like the key it belongs next to");
    return true;
}

/* What libyaml says (scanner.c, parser.c of 0.2.5), and what we say instead. */
static const struct {
    const char *problem, *message, *help;
    bool at_context; /* the cause is where the thing began, not where the parser noticed */
} words[] = {
    {"mapping values are not allowed", "a key cannot stand here",
     "quote the text if the ':' belongs to it; check the indentation if it is a key", false},
    {"could not find expected ':'", "this line is neither a key nor a value",
     "write 'key: value', or indent it to belong to the line above", true},
    {"did not find expected key", "expected a key here", "check the indentation", false},
    {"did not find expected ',' or ']'", "this [ has no end", "close it with ']'", true},
    {"did not find expected ',' or '}'", "this { has no end", "close it with '}'", true},
    {"did not find expected '-' indicator", "expected another '- ' item here",
     "check the indentation", false},
    {"found unexpected end of stream", "this quote has no end", "close it", true},
    {"found unexpected document indicator", "this quote has no end", "close it", true},
    {"block sequence entries are not allowed", "a '- ' item cannot stand here",
     "put it on a line of its own", false},
    {"block mapping", "a key cannot stand here", "check the indentation", false},
    {"found unknown escape character", "no such escape in double quotes",
     "write '\\\\' for a backslash, or use single quotes", false},
    {"did not find expected <document start>", "the document has ended before this line",
     "check the indentation", false},
    {"found character that cannot start any token", "a text cannot start with this character",
     "put it in quotes", false},
    {"did not find expected alphabetic or numeric character", "a name belongs after '&' or '*'",
     "quote the text if it starts with '*' or '&'", false},
    {"did not find expected node content", "a value is missing here", NULL, false},
    {"did not find expected comment or line break", "nothing can follow '|' or '>' on its line",
     "start the text on the next line", false},
    {"found a tab character", "a tab cannot indent YAML", "use spaces", false},
};

void kage_yaml_explain(const char *file, const char *text, size_t len, const char *problem,
                       struct kage_yaml_place at, const char *context,
                       struct kage_yaml_place context_at, struct kage_diags *diags)
{
    const char *line;
    size_t n;
    if (!problem)
        problem = "unknown problem";
    if (find_line(text, len, at.line, &line, &n)) {
        if (report_tab(file, text, len, line, n, at.line, diags) ||
            report_bare_reference(file, line, n, at.line, at.col + 1, diags))
            return;
    }
    bool key_trouble = strstr(problem, "mapping values") || strstr(problem, "expected ':'") ||
                       strstr(problem, "expected key");
    int first = context_at.line ? context_at.line : at.line - 1;
    for (int i = at.line; key_trouble && i >= 1 && i >= first && i >= at.line - 3; i--)
        if (find_line(text, len, i, &line, &n) && report_lacks_space(file, line, n, i, diags))
            return;
    if (strstr(problem, "mapping values") && find_line(text, len, at.line, &line, &n) &&
        report_too_deep(file, line, n, at, diags))
        return;
    if (strstr(problem, "tag")) {
        kage_diags_add(diags, K110_TAG, span(file, at.line, at.col, 1), "tags are not allowed");
        return;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!strstr(problem, words[i].problem))
            continue;
        bool moved = words[i].at_context && context_at.line > 0;
        struct kage_yaml_place place = moved ? context_at : at;
        struct kage_finding *f = kage_diags_add(
            diags, K100_SYNTAX, span(file, place.line, place.col, 1), "%s", words[i].message);
        if (words[i].help)
            kage_finding_help(f, "%s", words[i].help);
        return;
    }
    kage_diags_add(diags, K100_SYNTAX, span(file, at.line, at.col, 1), "%s%s%s", problem,
                   context ? " " : "", context ? context : "");
}
