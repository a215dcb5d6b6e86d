#include "runner/spec/units.h"

#include <arpa/inet.h>
#include <string.h>

/* At most this many digits: larger numbers could overflow further on, and none is meant. */
#define MAX_DIGITS 9

static bool number(const char **s, size_t max_digits, uint64_t *ret)
{
    size_t n = strspn(*s, "0123456789");
    if (n == 0 || n > max_digits || **s == '0')
        return false;
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret = *ret * 10 + (uint64_t)((*s)[i] - '0');
    *s += n;
    return true;
}

bool kage_parse_size(const char *text, uint64_t *ret)
{
    uint64_t n;
    if (!number(&text, MAX_DIGITS, &n))
        return false;
    unsigned shift = text[0] == 'K' ? 10 : text[0] == 'M' ? 20 : text[0] == 'G' ? 30 : 0;
    if (!shift || strcmp(text + 1, "iB") != 0)
        return false;
    *ret = n << shift;
    return true;
}

bool kage_parse_duration(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    size_t next = 0;
    uint64_t sum = 0;
    if (!*text)
        return false;
    while (*text) {
        uint64_t n;
        if (!number(&text, MAX_DIGITS, &n))
            return false;
        size_t len = strspn(text, "hms");
        while (next < 4 &&
               !(strlen(units[next].unit) == len && strncmp(text, units[next].unit, len) == 0))
            next++;
        if (next == 4)
            return false;
        sum += n * units[next++].ms;
        text += len;
    }
    *ret_ms = sum;
    return true;
}

static bool port(const char *s, size_t len, uint16_t *ret)
{
    uint64_t n;
    const char *p = s;
    if (!number(&p, 5, &n) || (size_t)(p - s) != len || n > 65535)
        return false;
    *ret = (uint16_t)n;
    return true;
}

const char *kage_parse_forward(const char *text, char addr[16], uint16_t *ret_host,
                               uint16_t *ret_guest, bool *ret_udp)
{
    size_t len = strcspn(text, "/");
    *ret_udp = strcmp(text + len, "/udp") == 0;
    if (text[len] && !*ret_udp && strcmp(text + len, "/tcp") != 0)
        return "only /tcp or /udp can follow the ports";
    addr[0] = '\0';
    const char *end = text + len, *last = memrchr(text, ':', len);
    if (!last)
        return "it has one port; write HOST:GUEST";
    const char *first = memrchr(text, ':', (size_t)(last - text));
    const char *host = first ? first + 1 : text;
    if (first) {
        size_t n = (size_t)(first - text);
        struct in_addr parsed;
        if (n >= 16)
            return "the address is not a numeric IPv4 address";
        memcpy(addr, text, n);
        addr[n] = '\0';
        if (inet_pton(AF_INET, addr, &parsed) != 1)
            return "the address is not a numeric IPv4 address";
    }
    if (!port(host, (size_t)(last - host), ret_host) ||
        !port(last + 1, (size_t)(end - last - 1), ret_guest))
        return "a port is a number from 1 to 65535";
    return NULL;
}
