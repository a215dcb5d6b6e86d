#include "runner/session/login.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

enum { NAME, HOME = 5, SHELL = 6, FIELDS = 7 }; /* passwd(5) */

struct slice {
    const char *at;
    size_t len;
};

/* Returns whether the line has all its fields. */
static bool split(const char *line, size_t len, struct slice fields[FIELDS])
{
    for (int i = 0; i < FIELDS; i++) {
        const char *colon = memchr(line, ':', len);
        size_t n = colon && i < SHELL ? (size_t)(colon - line) : len;

        fields[i] = (struct slice){line, n};
        if (!colon && i < SHELL)
            return false;
        if (i < SHELL) {
            line += n + 1;
            len -= n + 1;
        }
    }
    return true;
}

/* A path that can be sent on in a message: absolute, text, without a NUL. */
static char *path_or(const struct slice *s, const char *otherwise)
{
    if (!s->len || s->at[0] != '/' || memchr(s->at, '\0', s->len) ||
        !kage_utf8_valid(s->at, s->len))
        return kage_strdup(otherwise);
    return kage_strndup(s->at, s->len);
}

void kage_login_find(const char *untrusted_passwd, size_t len, const char *user,
                     struct kage_login *ret)
{
    const char *line = untrusted_passwd, *stop = len ? line + len : line;
    size_t name_len = strlen(user);

    for (; line < stop;) {
        const char *end = memchr(line, '\n', (size_t)(stop - line));
        struct slice f[FIELDS];

        if (!end)
            end = stop;
        if (split(line, (size_t)(end - line), f) && f[NAME].len == name_len &&
            !memcmp(f[NAME].at, user, name_len)) {
            *ret = (struct kage_login){.shell = path_or(&f[SHELL], "/bin/sh"),
                                       .home = path_or(&f[HOME], "/")};
            return;
        }
        line = end + 1;
    }
    *ret = (struct kage_login){.shell = kage_strdup("/bin/sh"), .home = kage_strdup("/")};
}

void kage_login_done(struct kage_login *login)
{
    free(login->shell);
    free(login->home);
    *login = (struct kage_login){0};
}
