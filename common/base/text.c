#include "common/base/text.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"

/* Length of the character that starts at s, 0 if it is not valid, or -1 if it is a valid start
 * that n bytes do not complete. The ranges are table 3-7 of the Unicode standard. */
static int utf8_char(const unsigned char *s, size_t n)
{
    unsigned lo = 0x80, hi = 0xBF;
    int len;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    len = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (s[0] == 0xE0)
        lo = 0xA0;
    else if (s[0] == 0xED)
        hi = 0x9F;
    else if (s[0] == 0xF0)
        lo = 0x90;
    else if (s[0] == 0xF4)
        hi = 0x8F;
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n)
            return -1;
        if (s[i] < lo || s[i] > hi)
            return 0;
        lo = 0x80;
        hi = 0xBF;
    }
    return len;
}

size_t kage_utf8_valid_prefix(const char *s, size_t n)
{
    size_t i = 0;

    while (i < n) {
        int len = utf8_char((const unsigned char *)s + i, n - i);

        if (len <= 0)
            break;
        i += (size_t)len;
    }
    return i;
}

bool kage_utf8_valid(const char *s, size_t n)
{
    return kage_utf8_valid_prefix(s, n) == n;
}

size_t kage_utf8_incomplete_tail(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char *p = (const unsigned char *)s + n - back;

        if ((*p & 0xC0) == 0x80)
            continue;
        return utf8_char(p, back) < 0 ? back : 0;
    }
    return 0;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *kage_base64_encode(const void *data, size_t n)
{
    const unsigned char *in = data;
    char *out = kage_alloc((n + 2) / 3 * 4 + 1), *p = out;

    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                     (left > 2 ? in[i + 2] : 0);

        *p++ = base64_digits[v >> 18 & 63];
        *p++ = base64_digits[v >> 12 & 63];
        *p++ = left > 1 ? base64_digits[v >> 6 & 63] : '=';
        *p++ = left > 2 ? base64_digits[v & 63] : '=';
    }
    return out;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int kage_base64_decode(const char *s, size_t n, unsigned char **out, size_t *out_len)
{
    KAGE_CLEANUP(kage_freep) unsigned char *buf = NULL;
    size_t pad = 0, len = 0;

    if (n % 4)
        return -1;
    if (n && s[n - 1] == '=')
        pad = s[n - 2] == '=' ? 2 : 1;
    buf = kage_alloc(n / 4 * 3 + 1);
    for (size_t i = 0; i < n; i += 4) {
        size_t digits = i + 4 == n ? 4 - pad : 4;
        uint32_t v = 0;

        for (size_t k = 0; k < 4; k++) {
            int d = k < digits ? base64_value(s[i + k]) : 0;

            if (d < 0)
                return -1;
            v = v << 6 | (uint32_t)d;
        }
        /* Bits that padding throws away must be zero, or two texts would mean the same bytes. */
        if ((digits == 2 && (v & 0xFFFF)) || (digits == 3 && (v & 0xFF)))
            return -1;
        buf[len++] = (unsigned char)(v >> 16);
        if (digits > 2)
            buf[len++] = (unsigned char)(v >> 8);
        if (digits > 3)
            buf[len++] = (unsigned char)v;
    }
    *out = KAGE_TAKE(buf);
    *out_len = len;
    return 0;
}

char *kage_printable(const char *s, size_t n)
{
    struct kage_buf out = {0};
    size_t i = 0;

    while (i < n) {
        const unsigned char *p = (const unsigned char *)s + i;
        int len = utf8_char(p, n - i);
        /* C0, DEL and C1: a terminal acts on them. */
        bool control = *p < 0x20 || *p == 0x7F || (*p == 0xC2 && len == 2 && p[1] < 0xA0);

        if (len > 0 && !control) {
            kage_buf_add(&out, p, (size_t)len);
            i += (size_t)len;
        } else {
            kage_buf_addf(&out, "\\x%02x", *p);
            i++;
        }
    }
    return kage_buf_take(&out);
}

size_t kage_json_values(const char *s, size_t n)
{
    bool quoted = false;
    size_t values = 1;

    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"')
            quoted = !quoted;
        else if (quoted && s[i] == '\\')
            i++;
        else if (!quoted && (s[i] == ',' || s[i] == '[' || s[i] == '{'))
            values++;
    }
    return values;
}

char *kage_duration_text(uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    struct kage_buf out = {0};

    if (!ms)
        return kage_strdup("0s");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (ms >= units[i].ms)
            kage_buf_addf(&out, "%" PRIu64 "%s", ms / units[i].ms, units[i].unit);
        ms %= units[i].ms;
    }
    return kage_buf_take(&out);
}
