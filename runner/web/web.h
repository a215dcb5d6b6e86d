#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "runner/vm/registry.h"
#include "runner/web/shell.h"
#include "runner/web/wire.h"

/* What the files in this folder share: the shells, and the page that shows them. */
struct kage_web_page;

struct kage_web {
    struct kage_loop *loop;
    struct kage_ws *ws;
    const char *first_vm;
    const struct kage_web_login *login;
    struct kage_web_shell *shells[KAGE_WEB_SHELLS_MAX];
    uint32_t last_number;
    struct kage_vm *vms; /* as of the last look */
    size_t n_vms;
    struct kage_web_page *page; /* the one in charge, or NULL */
};

/* state.c: what the page shows, as JSON. Looks at the machines again if asked to. */
void kage_web_look(struct kage_web *web);
char *kage_web_state(const struct kage_web *web);

/* server.c */
struct kage_web_shell *kage_web_find(const struct kage_web *web, uint32_t number);
/* vm is what a page named; it is looked up, and must run. */
int kage_web_open(struct kage_web *web, const char *vm, uint16_t rows, uint16_t cols,
                  struct kage_web_shell **ret, struct kage_error *err);
void kage_web_close(struct kage_web *web, uint32_t number);
bool kage_web_check_key(const struct kage_web *web, const void *key, size_t len);

/* page.c: one WebSocket of a browser that showed its cookie. */
struct kage_conn;
struct kage_web_page *kage_web_page_new(struct kage_web *web, struct kage_conn *conn);
void kage_web_page_free(struct kage_web_page *page);
void kage_web_page_message(struct kage_web_page *page, const uint8_t *data, size_t len);
void kage_web_page_drain(struct kage_web_page *page);
void kage_web_page_output(struct kage_web_page *page, struct kage_web_shell *shell);
void kage_web_page_credit(struct kage_web_page *page, struct kage_web_shell *shell, size_t bytes);
/* Sends the state if it differs from what was sent last. */
void kage_web_page_publish(struct kage_web_page *page);
/* Closes it if it has not shown its key in time. */
void kage_web_page_tick(struct kage_web_page *page);
