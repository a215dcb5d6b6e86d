#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "runner/web/shell.h"

/*
 * The server behind `kage web`: one page at a time, up to KAGE_WEB_SHELLS_MAX
 * shells on this user's machines, on 127.0.0.1 only.
 */
struct kage_web_options {
    const char *vm; /* the id of the machine to begin with */
    struct kage_web_login login;
    uint16_t port; /* 0 lets the kernel choose */
    /* Called with the address that lets one browser in; again whenever one was asked for. */
    void (*on_address)(const char *url, void *user);
    void *user;
    int renew_fd; /* a line from here asks for a new address; -1 for none */
};

/* Serves until SIGINT, SIGTERM or SIGHUP. Every shell ends with it. */
int kage_web_serve(const struct kage_web_options *options, struct kage_error *err);
