#include "guest/token.h"

#include <string.h>
#include <unistd.h>

#include "common/proto/frame.h"

static bool is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") >= n;
}

bool kage_token_matches(int fd, const char *bearer)
{
    char token[KAGE_TOKEN_HEX + 3] = {0};
    unsigned char differ = 0;
    ssize_t n = fd < 0 ? -1 : pread(fd, token, sizeof token - 1, 0);
    bool usable;

    /* One newline at the end is what an editor or echo leaves. */
    usable = is_hex(token, KAGE_TOKEN_HEX) &&
             (n == (ssize_t)KAGE_TOKEN_HEX ||
              (n == (ssize_t)KAGE_TOKEN_HEX + 1 && token[KAGE_TOKEN_HEX] == '\n'));
    if (usable && bearer && strlen(bearer) == KAGE_TOKEN_HEX) {
        for (size_t i = 0; i < KAGE_TOKEN_HEX; i++)
            differ |= (unsigned char)(token[i] ^ bearer[i]);
    } else {
        differ = 1;
    }
    explicit_bzero(token, sizeof token);
    return differ == 0;
}
