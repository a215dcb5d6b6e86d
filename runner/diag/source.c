#include "runner/diag/source.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

/* Lines of up to this many bytes are shown whole; of longer ones so many cells before and after the
 * caret. */
#define WHOLE_BYTES 160
#define LEAD_CELLS 60
#define TAIL_CELLS 60

void kage_source_init(struct kage_source *source, const char *name, const char *text, size_t len)
{
    *source = (struct kage_source){
        .name = kage_strdup(name), .text = kage_strndup(text, len), .len = len};
    /* kage_strndup stops at a NUL byte; the findings about one still want the text behind it */
    if (strlen(source->text) != len) {
        free(source->text);
        source->text = kage_alloc(len + 1);
        memcpy(source->text, text, len);
    }
}

void kage_source_done(struct kage_source *source)
{
    free(source->name);
    free(source->text);
    free(source->lines);
    *source = (struct kage_source){0};
}

/* Line breaks as YAML 1.2 and editors have them: LF, CR LF, CR. */
static void index_lines(struct kage_source *s)
{
    size_t cap = 0;
    s->lines = kage_array_grow(NULL, &cap, 1, sizeof(*s->lines));
    s->lines[0] = 0;
    s->n_lines = 1;
    for (size_t i = 0; i < s->len; i++) {
        if (s->text[i] == '\r' && i + 1 < s->len && s->text[i + 1] == '\n')
            continue;
        if (s->text[i] != '\n' && s->text[i] != '\r')
            continue;
        s->lines = kage_array_grow(s->lines, &cap, s->n_lines + 1, sizeof(*s->lines));
        s->lines[s->n_lines++] = i + 1;
    }
}

size_t kage_text_next(const char *s, size_t n, int *cp)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t bytes = u[0] < 0x80 ? 1 : u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0xc2 ? 2 : 0;
    *cp = -1;
    if (bytes == 1)
        *cp = u[0];
    if (bytes < 2 || bytes > n)
        return 1;
    int value = u[0] & (0x7f >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 1;
        value = value << 6 | (u[i] & 0x3f);
    }
    static const int least[] = {[2] = 0x80, [3] = 0x800, [4] = 0x10000};
    if (value < least[bytes] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 1;
    *cp = value;
    return bytes;
}

struct range {
    int first, last;
};

static bool in_ranges(int cp, const struct range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (cp >= r[i].first && cp <= r[i].last)
            return true;
    return false;
}

/* Characters that change how their neighbours are shown: C1 controls, the
 * bidirectional controls of "Trojan Source" (CVE-2021-42574), byte order marks,
 * line and paragraph separators, tags, and what is not a character at all. */
static bool is_unsafe(int cp)
{
    static const struct range unsafe[] = {
        {0x80, 0x9f},     {0x61c, 0x61c},     {0x200b, 0x200f},    {0x2028, 0x202e},
        {0x2060, 0x206f}, {0xfeff, 0xfeff},   {0xe000, 0xf8ff},    {0xfff0, 0xfffb},
        {0xfffe, 0xffff}, {0x1fffe, 0x1ffff}, {0xe0000, 0x10ffff},
    };
    return cp < 0x20 || cp == 0x7f || in_ranges(cp, unsafe, sizeof(unsafe) / sizeof(unsafe[0]));
}

/* A coarse wcwidth(): that one depends on the locale, and output must not. Ranges after Unicode's
 * EastAsianWidth.txt (W, F) and the combining marks of the common scripts. */
static int cell_width(int cp)
{
    static const struct range zero[] = {
        {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},   {0x64b, 0x65f},
        {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
    };
    static const struct range wide[] = {
        {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0x33ff},   {0x3400, 0x4dbf},
        {0x4e00, 0x9fff},   {0xa000, 0xa4cf},   {0xac00, 0xd7a3},   {0xf900, 0xfaff},
        {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},   {0x1f300, 0x1f64f},
        {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd},
    };
    if (cp < 0x300)
        return 1;
    if (in_ranges(cp, zero, sizeof(zero) / sizeof(zero[0])))
        return 0;
    return in_ranges(cp, wide, sizeof(wide) / sizeof(wide[0])) ? 2 : 1;
}

int kage_text_cell(const char *s, size_t bytes, int cp, struct kage_buf *out)
{
    if (cp >= 0 && !is_unsafe(cp)) {
        kage_buf_add(out, s, bytes);
        return cell_width(cp);
    }
    if (cp == '\t') {
        kage_buf_addc(out, ' ');
        return 1;
    }
    size_t before = out->len;
    if (cp >= 0x80)
        kage_buf_addf(out, "\\u{%x}", (unsigned)cp);
    else
        kage_buf_addf(out, "\\x%02x", (unsigned char)s[0]);
    return (int)(out->len - before);
}

/* Byte offset of a column, or of the line's end when it is shorter. */
static size_t find_column(struct kage_source *s, int line, int col, size_t start, size_t end)
{
    struct kage_source_place *near = NULL;
    for (int i = 0; i < 2; i++)
        if (s->seen[i].line == line && s->seen[i].col <= col &&
            (!near || near->col < s->seen[i].col))
            near = &s->seen[i];
    if (!near) {
        near = &s->seen[s->oldest];
        s->oldest = !s->oldest;
        *near = (struct kage_source_place){line, 1, start};
    }
    for (int cp; near->col < col && near->offset < end; near->col++)
        near->offset += kage_text_next(s->text + near->offset, end - near->offset, &cp);
    return near->offset;
}

static bool find_line(struct kage_source *s, int line, size_t *start, size_t *end)
{
    if (!s->lines)
        index_lines(s);
    if (line < 1 || (size_t)line > s->n_lines)
        return false;
    *start = s->lines[line - 1];
    *end = (size_t)line < s->n_lines ? s->lines[line] : s->len;
    while (*end > *start && (s->text[*end - 1] == '\n' || s->text[*end - 1] == '\r'))
        (*end)--;
    return true;
}

bool kage_source_offset(struct kage_source *s, int line, int col, size_t *ret)
{
    size_t start, end;
    if (!find_line(s, line, &start, &end))
        return false;
    *ret = find_column(s, line, col, start, end);
    return true;
}

void kage_source_place(struct kage_source *s, size_t offset, int *ret_line, int *ret_col)
{
    if (!s->lines)
        index_lines(s);
    size_t low = 0, high = s->n_lines; /* the line is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->lines[middle] <= offset)
            low = middle;
        else
            high = middle;
    }
    int col = 1;
    size_t i = s->lines[low];
    for (int cp; i < offset && i < s->len; col++)
        i += kage_text_next(s->text + i, s->len - i, &cp);
    *ret_line = (int)low + 1;
    *ret_col = col;
}

int kage_source_word(struct kage_source *s, int line, int col)
{
    size_t start, end;
    if (!find_line(s, line, &start, &end))
        return 1;
    size_t at = find_column(s, line, col, start, end), i = at;
    bool quoted = i < end && (s->text[i] == '"' || s->text[i] == '\'');
    int width = 0;
    for (int cp; i < end; width++) {
        bool last = quoted && i > at && s->text[i] == s->text[at];
        if (!quoted && strchr(" \t,]}", s->text[i]))
            break;
        i += kage_text_next(s->text + i, end - i, &cp);
        if (last)
            return width + 1;
    }
    return width > 0 ? width : 1;
}

int kage_source_find(struct kage_source *s, int line, const char *text, size_t len)
{
    size_t start, end;
    if (len == 0 || !find_line(s, line, &start, &end))
        return 0;
    const char *at = memmem(s->text + start, end - start, text, len);
    int col = 1;
    for (const char *p = s->text + start; at && p < at; p++)
        col += (*p & 0xc0) != 0x80;
    return at ? col : 0;
}

bool kage_source_show(struct kage_source *s, int line, int col, int width, struct kage_buf *out,
                      int *ret_indent, int *ret_cells)
{
    size_t start, end;
    if (!find_line(s, line, &start, &end))
        return false;
    size_t at = find_column(s, line, col, start, end);

    size_t from = at;
    for (int back = 0; from > start && back < LEAD_CELLS; back++) {
        do
            from--;
        while (from > start && (s->text[from] & 0xc0) == 0x80);
    }
    bool whole = end - start <= WHOLE_BYTES;
    if (whole)
        from = start;

    int indent = 0, cells = 0, after = 0;
    if (from > start) {
        kage_buf_adds(out, "…");
        indent = 1;
    }
    size_t i = from;
    int seen = 0;
    while (i < end && (whole || after < TAIL_CELLS)) {
        int cp;
        size_t bytes = kage_text_next(s->text + i, end - i, &cp);
        int w = kage_text_cell(s->text + i, bytes, cp, out);
        if (i < at) {
            indent += w;
        } else {
            if (seen++ < (width > 1 ? width : 1))
                cells += w;
            after += w;
        }
        i += bytes;
    }
    if (i < end)
        kage_buf_adds(out, "…");
    *ret_indent = indent;
    *ret_cells = cells > 0 ? cells : 1;
    return true;
}
