#include "runner/web/web.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"

/*
 * Theory of operation. Output waits in the history of its shell and is fetched
 * from there as the page takes it: at most KAGE_WEB_OUTPUT_WINDOW bytes are on
 * their way to its screen, and a shell whose page falls further behind is held
 * at its source. Without a page nothing is held, and the history forgets.
 *
 * Input is the mirror image: a page may send what it has credit for, and gets
 * credit as vmd takes the input on. Whoever sends more is not our page.
 */
#define CHUNK 32768u
#define BEHIND_MAX (128u * 1024u) /* output not yet sent that makes a shell wait */
#define UNREAD_MAX (2u * 1024u * 1024u)
#define KEY_TIMEOUT_MS 10000u
#define NEWLINE_SEARCH 4096u

struct view {
    uint32_t shell; /* 0: the slot is free */
    uint64_t sent, acked;
    bool held;
};

struct kage_web_page {
    struct kage_web *web;
    struct kage_conn *conn;
    bool trusted, closing;
    uint64_t opened_ms;
    char *state; /* as sent last */
    struct view views[KAGE_WEB_SHELLS_MAX];
};

/* ---- numbers on the wire ---- */

static void put(struct kage_buf *b, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        kage_buf_addc(b, (char)(v >> (8 * i)));
}

static uint64_t get(const uint8_t *in, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)in[i] << (8 * i);
    return v;
}

static void send_head(struct kage_web_page *p, const struct kage_buf *head, const void *body,
                      size_t len)
{
    if (!p->closing)
        kage_conn_send(p->conn, head->data, head->len, body, len);
}

static void send_bytes(struct kage_web_page *p, enum kage_wire_type type, const void *body,
                       size_t len)
{
    uint8_t head = (uint8_t)type;

    if (!p->closing)
        kage_conn_send(p->conn, &head, 1, body, len);
}

static void hang_up(struct kage_web_page *p)
{
    if (p->closing)
        return;
    p->closing = true;
    kage_conn_close(p->conn);
}

/* ---- output ---- */

static struct view *find_view(struct kage_web_page *p, uint32_t shell)
{
    for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++)
        if (p->views[i].shell == shell)
            return &p->views[i];
    return NULL;
}

static void hold(struct view *v, struct kage_web_shell *shell, bool held)
{
    v->held = held;
    kage_web_shell_hold(shell, held);
}

/* Says where output goes on, or begins again. */
static void send_from(struct kage_web_page *p, const struct view *v,
                      const struct kage_web_shell *shell, bool reset)
{
    struct kage_buf m = {0};

    put(&m, KAGE_WIRE_FROM, 1);
    put(&m, v->shell, 4);
    put(&m, v->sent, 8);
    put(&m, kage_web_shell_end(shell), 8);
    put(&m, kage_web_shell_credit(shell), 4);
    put(&m, reset, 1);
    send_head(p, &m, NULL, 0);
    kage_buf_done(&m);
}

static void send_output(struct kage_web_page *p, struct view *v, const struct kage_web_shell *shell,
                        size_t len)
{
    uint8_t bytes[CHUNK];
    struct kage_buf m = {0};
    size_t n = kage_web_shell_read(shell, v->sent, bytes, len < CHUNK ? len : CHUNK);

    put(&m, KAGE_WIRE_OUTPUT, 1);
    put(&m, v->shell, 4);
    put(&m, v->sent, 8);
    send_head(p, &m, bytes, n);
    kage_buf_done(&m);
    v->sent += n;
}

/* The oldest offset to show. History that has lost its beginning starts at a line, so that half an
 * escape sequence is not taken for text. */
static uint64_t first_line(const struct kage_web_shell *shell)
{
    uint64_t start = kage_web_shell_start(shell);
    uint8_t bytes[NEWLINE_SEARCH];
    const uint8_t *newline;
    size_t n;

    if (!start)
        return 0;
    n = kage_web_shell_read(shell, start, bytes, sizeof bytes);
    newline = memchr(bytes, '\n', n);
    return newline ? start + (uint64_t)(newline - bytes) + 1 : start;
}

static void pump(struct kage_web_page *p, struct view *v, struct kage_web_shell *shell)
{
    uint64_t end = kage_web_shell_end(shell);

    if (v->sent < kage_web_shell_start(shell)) { /* a lot came in one go; begin again */
        v->sent = v->acked = first_line(shell);
        send_from(p, v, shell, true);
    }
    while (v->sent < end && v->sent - v->acked < KAGE_WEB_OUTPUT_WINDOW &&
           kage_conn_queued(p->conn) < KAGE_CONN_HIGH_WATER)
        send_output(p, v, shell, KAGE_WEB_OUTPUT_WINDOW - (v->sent - v->acked));
    if (!v->held && end - v->sent > BEHIND_MAX)
        hold(v, shell, true);
    else if (v->held && end - v->sent <= BEHIND_MAX / 2)
        hold(v, shell, false);
}

void kage_web_page_output(struct kage_web_page *p, struct kage_web_shell *shell)
{
    struct view *v = find_view(p, kage_web_shell_number(shell));

    if (v)
        pump(p, v, shell);
}

void kage_web_page_drain(struct kage_web_page *p)
{
    for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++) {
        struct kage_web_shell *shell =
            p->views[i].shell ? kage_web_find(p->web, p->views[i].shell) : NULL;

        if (shell)
            pump(p, &p->views[i], shell);
    }
}

void kage_web_page_credit(struct kage_web_page *p, struct kage_web_shell *shell, size_t bytes)
{
    uint32_t number = kage_web_shell_number(shell);
    struct kage_buf m = {0};

    if (!find_view(p, number))
        return; /* attaching tells the credit */
    put(&m, KAGE_WIRE_CREDIT, 1);
    put(&m, number, 4);
    put(&m, bytes, 4);
    send_head(p, &m, NULL, 0);
    kage_buf_done(&m);
}

/* ---- what the page asks for ---- */

static void on_key(struct kage_web_page *p, const uint8_t *key, size_t len)
{
    struct kage_web *web = p->web;

    if (!kage_web_check_key(web, key, len)) {
        hang_up(p);
        return;
    }
    p->trusted = true;
    if (web->page) {
        struct kage_web_page *other = web->page;

        for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++) {
            if (web->shells[i])
                kage_web_shell_hold(web->shells[i], false);
            other->views[i] = (struct view){0};
        }
        send_bytes(other, KAGE_WIRE_TAKEN, NULL, 0);
        hang_up(other);
    }
    web->page = p;
    kage_web_look(web);
    kage_web_page_publish(p);
}

static void on_open(struct kage_web_page *p, const uint8_t *data, size_t len)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_web_shell *shell = NULL;
    struct kage_buf m = {0};
    char vm[9] = "";

    memcpy(vm, data + 4, 8);
    if (kage_web_open(p->web, vm, (uint16_t)get(data, 2), (uint16_t)get(data + 2, 2), &shell,
                      &err) < 0) {
        send_bytes(p, KAGE_WIRE_REFUSED, err.message, strlen(err.message));
        kage_error_done(&err);
        return;
    }
    put(&m, KAGE_WIRE_OPENED, 1);
    put(&m, kage_web_shell_number(shell), 4);
    kage_web_page_publish(p);
    send_head(p, &m, NULL, 0);
    kage_buf_done(&m);
}

static void on_attach(struct kage_web_page *p, struct kage_web_shell *shell, const uint8_t *data,
                      size_t len)
{
    uint32_t number = kage_web_shell_number(shell);
    struct view *v = find_view(p, number);
    uint64_t have = get(data, 8);
    bool reset = have < kage_web_shell_start(shell) || have > kage_web_shell_end(shell);

    if (!v)
        v = find_view(p, 0);
    if (!v)
        return; /* cannot be: there are as many views as shells */
    *v = (struct view){.shell = number, .held = v->held};
    v->sent = v->acked = reset ? first_line(shell) : have;
    send_from(p, v, shell, reset);
    pump(p, v, shell);
    if (reset && v->sent) /* what set the screen up may be forgotten */
        kage_web_shell_redraw(shell);
}

static void on_input(struct kage_web_page *p, struct kage_web_shell *shell, const uint8_t *data,
                     size_t len)
{
    if (kage_web_shell_input(shell, data, len) < 0)
        hang_up(p);
}

static void on_resize(struct kage_web_page *p, struct kage_web_shell *shell, const uint8_t *data,
                      size_t len)
{
    uint16_t rows = (uint16_t)get(data, 2), cols = (uint16_t)get(data + 2, 2);

    if (rows && cols)
        kage_web_shell_resize(shell, rows, cols);
}

static void on_ack(struct kage_web_page *p, struct kage_web_shell *shell, const uint8_t *data,
                   size_t len)
{
    struct view *v = find_view(p, kage_web_shell_number(shell));
    uint64_t offset = get(data, 8);

    if (!v || offset < v->acked || offset > v->sent)
        return; /* of an earlier attachment; a lie would only hurt the page */
    v->acked = offset;
    pump(p, v, shell);
}

static void on_close(struct kage_web_page *p, struct kage_web_shell *shell, const uint8_t *data,
                     size_t len)
{
    struct view *v = find_view(p, kage_web_shell_number(shell));

    if (v)
        *v = (struct view){0};
    kage_web_close(p->web, kage_web_shell_number(shell));
    kage_web_page_publish(p);
}

/* Messages about a shell, by the length of what follows its number. */
static const struct word {
    enum kage_wire_type type;
    size_t min, max;
    void (*fn)(struct kage_web_page *p, struct kage_web_shell *shell, const uint8_t *data,
               size_t len);
} words[] = {
    {KAGE_WIRE_ATTACH, 8, 8, on_attach}, {KAGE_WIRE_INPUT, 1, KAGE_WEB_INPUT_WINDOW, on_input},
    {KAGE_WIRE_RESIZE, 4, 4, on_resize}, {KAGE_WIRE_ACK, 8, 8, on_ack},
    {KAGE_WIRE_CLOSE, 0, 0, on_close},
};

static int on_shell_message(struct kage_web_page *p, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const struct word *w = &words[i];
        struct kage_web_shell *shell;
        uint32_t number;

        if (w->type != data[0])
            continue;
        if (len < KAGE_WIRE_HEAD || len - KAGE_WIRE_HEAD < w->min || len - KAGE_WIRE_HEAD > w->max)
            return -1;
        number = (uint32_t)get(data + 1, 4);
        shell = number ? kage_web_find(p->web, number) : NULL;
        if (shell) /* else it has just been closed */
            w->fn(p, shell, data + KAGE_WIRE_HEAD, len - KAGE_WIRE_HEAD);
        return 0;
    }
    return -1;
}

void kage_web_page_message(struct kage_web_page *p, const uint8_t *data, size_t len)
{
    if (p->closing || !len) {
        hang_up(p);
    } else if (!p->trusted) {
        if (data[0] == KAGE_WIRE_KEY)
            on_key(p, data + 1, len - 1);
        else
            hang_up(p);
    } else if (p->web->page != p) {
        hang_up(p);
    } else if (data[0] == KAGE_WIRE_OPEN && len == 13) {
        on_open(p, data + 1, len - 1);
    } else if (on_shell_message(p, data, len) < 0) {
        hang_up(p);
    }
    if (kage_conn_queued(p->conn) > UNREAD_MAX)
        hang_up(p); /* it asks and does not listen */
}

/* ---- life ---- */

void kage_web_page_publish(struct kage_web_page *p)
{
    char *state = kage_web_state(p->web);

    if (p->state && !strcmp(p->state, state)) {
        free(state);
        return;
    }
    free(p->state);
    p->state = state;
    send_bytes(p, KAGE_WIRE_STATE, state, strlen(state));
}

void kage_web_page_tick(struct kage_web_page *p)
{
    if (!p->trusted && kage_now_ms() - p->opened_ms > KEY_TIMEOUT_MS)
        hang_up(p);
}

struct kage_web_page *kage_web_page_new(struct kage_web *web, struct kage_conn *conn)
{
    struct kage_web_page *p = kage_alloc(sizeof *p);

    *p = (struct kage_web_page){.web = web, .conn = conn, .opened_ms = kage_now_ms()};
    return p;
}

void kage_web_page_free(struct kage_web_page *p)
{
    if (!p)
        return;
    if (p->web->page == p) {
        p->web->page = NULL;
        for (size_t i = 0; i < KAGE_WEB_SHELLS_MAX; i++)
            if (p->web->shells[i])
                kage_web_shell_hold(p->web->shells[i], false);
    }
    free(p->state);
    free(p);
}
