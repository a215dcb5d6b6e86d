#pragma once

#include <stddef.h>

/* What /etc/passwd of a guest says about a user. */
struct kage_login {
    char *shell, *home;
};

/* Reads the file's bytes, which are the guest's word. Falls back on /bin/sh and /: an image may
 * have neither user nor file. */
void kage_login_find(const char *untrusted_passwd, size_t len, const char *user,
                     struct kage_login *ret);
void kage_login_done(struct kage_login *login);
