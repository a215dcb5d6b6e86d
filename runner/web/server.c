#include "runner/web/server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/http.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"
#include "runner/web/access.h"
#include "runner/web/assets.h"
#include "runner/web/web.h"

#define PAGES_MAX 16u
#define MESSAGE_MAX (KAGE_WIRE_HEAD + KAGE_WEB_INPUT_WINDOW)
#define TICK_MS 1000u

/* The page brings all it needs, so nothing may come from elsewhere or stand inline. 'self' covers
 * the WebSocket in current browsers; its address is for those where it does not. */
#define CONTENT_POLICY                                                                             \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' " \
    "ws://%s; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

struct server {
    struct kage_web web;
    struct kage_web_access access;
    const struct kage_web_options *options;
    struct kage_web_page *pages[PAGES_MAX];
    struct kage_timer *tick;
    struct kage_watch *renew;
};

/* ---- HTTP ---- */

static void add_common_fields(const struct server *s, struct kage_http_response *r)
{
    kage_http_add(r, "content-security-policy", CONTENT_POLICY, s->access.host);
    kage_http_add(r, "x-content-type-options", "nosniff");
    kage_http_add(r, "x-frame-options", "DENY");
    kage_http_add(r, "referrer-policy", "no-referrer");
    kage_http_add(r, "cross-origin-opener-policy", "same-origin");
    kage_http_add(r, "cross-origin-resource-policy", "same-origin");
    kage_http_add(r, "cache-control", "no-store");
}

static void answer(struct kage_http_response *r, unsigned status, const char *text)
{
    r->status = status;
    r->type = "text/plain; charset=utf-8";
    r->body = text;
    r->len = strlen(text);
}

/* Says whether the browser is let in already. */
static void get_session(const struct server *s, const struct kage_http_request *request,
                        struct kage_http_response *r)
{
    if (kage_web_has_session(&s->access, request))
        answer(r, 200, "yes\n");
    else
        answer(r, 403, "Open the address that kage web printed.\n");
}

/* Exchanges the one-time secret for a session. */
static void post_session(struct server *s, const struct kage_http_request *request,
                         struct kage_http_response *r)
{
    if (!kage_web_origin_ok(&s->access, request) || !kage_web_use_secret(&s->access, request)) {
        answer(r, 403, "This address has been used, or is not the one that kage web printed.\n");
        return;
    }
    kage_http_add(r, "set-cookie", "%s=%s; Path=/; HttpOnly; SameSite=Strict",
                  s->access.cookie_name, s->access.session);
    r->status = 200;
    r->type = "text/plain; charset=utf-8";
    r->owned_body = kage_strdup(s->access.key);
    r->len = strlen(r->owned_body);
}

static void get_asset(const struct kage_http_request *request, struct kage_http_response *r)
{
    for (size_t i = 0; i < kage_web_n_assets; i++) {
        const struct kage_web_asset *a = &kage_web_assets[i];

        if (strcmp(request->path, a->path) != 0)
            continue;
        r->status = 200;
        r->type = a->type;
        r->body = a->data;
        r->len = a->len;
        return;
    }
    answer(r, 404, "There is no such page.\n");
}

static void on_request(const struct kage_http_request *request, struct kage_http_response *r,
                       void *user)
{
    struct server *s = user;
    bool is_session = !strcmp(request->path, "/session");

    add_common_fields(s, r);
    if (!kage_web_host_ok(&s->access, request))
        answer(r, 403, "This is not the name of this server.\n");
    else if (request->origin && !kage_web_origin_ok(&s->access, request))
        answer(r, 403, "This server answers no other site.\n");
    else if (request->has_query)
        answer(r, 404, "There is no such page.\n");
    else if (is_session && request->method == KAGE_HTTP_POST)
        post_session(s, request, r);
    else if (request->method != KAGE_HTTP_GET)
        answer(r, 405, "Only GET works here.\n");
    else if (is_session)
        get_session(s, request, r);
    else
        get_asset(request, r);
}

/* ---- pages ---- */

static unsigned on_upgrade(const struct kage_http_request *request, void *user)
{
    struct server *s = user;
    size_t n = 0;

    if (!kage_web_host_ok(&s->access, request) || !kage_web_origin_ok(&s->access, request) ||
        !kage_web_has_session(&s->access, request))
        return 403;
    if (request->has_query || strcmp(request->path, "/socket") != 0)
        return 404;
    for (size_t i = 0; i < PAGES_MAX; i++)
        n += s->pages[i] != NULL;
    return n < PAGES_MAX ? 0 : 503;
}

static void on_open(struct kage_conn *conn, void *user)
{
    struct server *s = user;

    for (size_t i = 0; i < PAGES_MAX; i++)
        if (!s->pages[i]) {
            s->pages[i] = kage_web_page_new(&s->web, conn);
            kage_conn_set_user(conn, &s->pages[i]);
            return;
        }
    kage_conn_set_user(conn, NULL);
    kage_conn_close(conn);
}

static void on_message(struct kage_conn *conn, const uint8_t *data, size_t len, void *user)
{
    struct kage_web_page **slot = user;

    if (slot)
        kage_web_page_message(*slot, data, len);
}

static void on_drain(struct kage_conn *conn, void *user)
{
    struct kage_web_page **slot = user;

    if (slot)
        kage_web_page_drain(*slot);
}

static void on_close(struct kage_conn *conn, const char *reason, void *user)
{
    struct kage_web_page **slot = user;

    if (slot)
        kage_web_page_free(KAGE_TAKE(*slot));
}

static const struct kage_ws_handler ws_handler = {
    .conn = {.on_open = on_open,
             .on_message = on_message,
             .on_drain = on_drain,
             .on_close = on_close},
    .on_upgrade = on_upgrade,
    .on_request = on_request,
};

/* ---- shells ---- */

static void on_shell_output(struct kage_web_shell *shell, void *user)
{
    struct kage_web *web = user;

    if (web->page)
        kage_web_page_output(web->page, shell);
}

static void on_shell_credit(struct kage_web_shell *shell, size_t bytes, void *user)
{
    struct kage_web *web = user;

    if (web->page)
        kage_web_page_credit(web->page, shell, bytes);
}

static void on_shell_change(struct kage_web_shell *shell, void *user)
{
    struct kage_web *web = user;

    if (!web->page)
        return;
    kage_web_look(web);
    kage_web_page_publish(web->page);
}

static const struct kage_web_shell_handler shell_handler = {
    .on_output = on_shell_output, .on_credit = on_shell_credit, .on_change = on_shell_change};

struct kage_web_shell *kage_web_find(const struct kage_web *web, uint32_t number)
{
    for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++)
        if (web->shells[i] && kage_web_shell_number(web->shells[i]) == number)
            return web->shells[i];
    return NULL;
}

int kage_web_open(struct kage_web *web, const char *vm_id, uint16_t rows, uint16_t cols,
                  struct kage_web_shell **ret, struct kage_error *err)
{
    const struct kage_vm *vm = NULL;
    size_t slot = 0;

    while (slot < KAGE_WEB_SHELLS_MAX && web->shells[slot])
        slot++;
    if (slot == KAGE_WEB_SHELLS_MAX)
        return kage_error_set(err, KAGE_CLASS_HOST, "there are %u shells already; close one first",
                              KAGE_WEB_SHELLS_MAX);
    if (!rows || !cols)
        return kage_error_set(err, KAGE_CLASS_HOST, "a terminal has rows and columns");
    kage_web_look(web);
    for (size_t i = 0; i < web->n_vms; i++)
        if (!strcmp(web->vms[i].id, vm_id))
            vm = &web->vms[i];
    if (!vm)
        return kage_error_set(err, KAGE_CLASS_HOST, "there is no such machine");
    if (vm->state != KAGE_VM_RUNNING)
        return kage_error_set(err, KAGE_CLASS_HOST, "%s does not run", vm->name);
    if (kage_web_shell_new(web->loop, web->ws, web->last_number + 1, vm, web->login, rows, cols,
                           &shell_handler, web, &web->shells[slot], err) < 0)
        return -1;
    web->last_number++;
    *ret = web->shells[slot];
    return 0;
}

void kage_web_close(struct kage_web *web, uint32_t number)
{
    for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++)
        if (web->shells[i] && kage_web_shell_number(web->shells[i]) == number)
            kage_web_shell_free(KAGE_TAKE(web->shells[i]));
}

bool kage_web_check_key(const struct kage_web *web, const void *key, size_t len)
{
    const struct server *s = (const struct server *)web; /* its first member */

    return kage_web_key_ok(&s->access, key, len);
}

/* ---- the server ---- */

static void on_tick(void *user)
{
    struct server *s = user;

    for (size_t i = 0; i < PAGES_MAX; i++)
        if (s->pages[i])
            kage_web_page_tick(s->pages[i]);
    for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++)
        if (s->web.shells[i])
            kage_web_shell_tick(s->web.shells[i]);
    if (s->web.page) {
        kage_web_look(&s->web);
        kage_web_page_publish(s->web.page);
    }
    kage_timer_set(s->tick, TICK_MS);
}

static void tell_address(struct server *s)
{
    KAGE_CLEANUP(kage_freep)
    char *url = kage_asprintf("%s/#%s", s->access.origin, s->access.secret);

    s->options->on_address(url, s->options->user);
    explicit_bzero(url, strlen(url));
}

static void on_renew(uint32_t events, void *user)
{
    struct server *s = user;
    char line[256];

    if (read(s->options->renew_fd, line, sizeof line) <= 0) {
        kage_watch_free(KAGE_TAKE(s->renew));
        return;
    }
    if (kage_web_access_renew(&s->access, NULL) == 0)
        tell_address(s);
}

static void on_signal(int signo, void *user)
{
    struct server *s = user;

    kage_loop_quit(s->web.loop);
}

static int set_up(struct server *s, struct kage_error *err)
{
    const struct kage_web_options *o = s->options;
    sigset_t signals;
    uint16_t port;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    if (kage_loop_new(&s->web.loop, err) < 0 ||
        kage_loop_signals(s->web.loop, &signals, on_signal, s, err) < 0 ||
        kage_timer_new(s->web.loop, on_tick, s, &s->tick, err) < 0 ||
        kage_ws_new(s->web.loop, &s->web.ws, err) < 0)
        return -1;
    if (o->renew_fd >= 0 &&
        kage_watch_new(s->web.loop, o->renew_fd, EPOLLIN, on_renew, s, &s->renew, err) < 0)
        return -1;
    if (kage_ws_listen(s->web.ws, "127.0.0.1", o->port, MESSAGE_MAX, &ws_handler, s, &port, err) <
        0)
        return -1;
    return kage_web_access_init(&s->access, port, err);
}

static void tear_down(struct server *s)
{
    for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++)
        kage_web_shell_free(KAGE_TAKE(s->web.shells[i]));
    kage_ws_free(s->web.ws);
    for (size_t i = 0; i < PAGES_MAX; i++)
        kage_web_page_free(KAGE_TAKE(s->pages[i]));
    kage_timer_free(s->tick);
    kage_watch_free(s->renew);
    kage_loop_free(s->web.loop);
    kage_vm_list_free(s->web.vms, s->web.n_vms);
    kage_web_access_done(&s->access);
}

int kage_web_serve(const struct kage_web_options *options, struct kage_error *err)
{
    struct server s = {.web = {.first_vm = options->vm, .login = &options->login},
                       .options = options};
    int r = set_up(&s, err);

    if (r == 0) {
        tell_address(&s);
        kage_timer_set(s.tick, TICK_MS);
        r = kage_loop_run(s.web.loop, err);
    }
    tear_down(&s);
    return r;
}
