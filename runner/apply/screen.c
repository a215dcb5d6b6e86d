#include "runner/apply/screen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/report/output.h"

/* The status line comes back once output has been quiet for this long: drawn after each piece it
 * would flicker. */
#define REDRAW_MS 100
/* ECMA-48: erase the line. */
#define ERASE "\r\033[K"
#define COLUMNS_UNKNOWN 80

struct kage_screen {
    struct kage_output *streams[2];
    const struct kage_screen_handler *handler;
    void *user;
    struct kage_timer *timer;
    char *status;
    bool on_terminal[2];
    bool want_status, drawn, mid_line, broken;
};

static void erase(struct kage_screen *s)
{
    if (s->drawn)
        kage_output_write(s->streams[1], ERASE, strlen(ERASE));
    s->drawn = false;
}

static size_t columns(void)
{
    struct winsize size = {0};

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col
                                                                       : COLUMNS_UNKNOWN;
}

/* The longest beginning that fits into `width` columns, counting characters. */
static size_t cut(const char *text, size_t width)
{
    size_t n = 0;

    for (; text[n]; n++)
        if (((unsigned char)text[n] & 0xc0) != 0x80 && !width--)
            break;
    return n;
}

static void draw(void *user)
{
    struct kage_screen *s = user;
    struct kage_buf line = {0};

    if (s->broken || !s->want_status || (!s->status && !s->drawn) || kage_screen_busy(s))
        return;
    /* Output that ended without a line feed stays readable. */
    if (s->mid_line)
        kage_buf_addc(&line, '\n');
    kage_buf_adds(&line, ERASE);
    if (s->status)
        kage_buf_add(&line, s->status, cut(s->status, columns() - 1));
    s->mid_line = false;
    s->drawn = s->status != NULL;
    kage_output_write(s->streams[1], line.data, line.len);
    kage_buf_done(&line);
}

static void on_full(void *user)
{
}

static void on_empty(void *user)
{
    struct kage_screen *s = user;

    if (!s->broken && !kage_screen_busy(s))
        s->handler->on_room(s->user);
}

static void on_broken(int errnum, void *user)
{
    struct kage_screen *s = user;

    if (s->broken)
        return;
    s->broken = true;
    s->handler->on_broken(errnum, s->user);
}

int kage_screen_new(struct kage_loop *loop, bool status, const struct kage_screen_handler *handler,
                    void *user, struct kage_screen **ret, struct kage_error *err)
{
    static const struct kage_output_handler output_handler = {
        .on_full = on_full, .on_empty = on_empty, .on_broken = on_broken};
    struct kage_screen *s = kage_alloc(sizeof *s);

    s->handler = handler;
    s->user = user;
    for (int i = 0; i < 2; i++)
        s->on_terminal[i] = isatty(i ? STDERR_FILENO : STDOUT_FILENO);
    s->want_status = status && s->on_terminal[1];
    if (kage_timer_new(loop, draw, s, &s->timer, err) < 0 ||
        kage_output_new(loop, STDOUT_FILENO, &output_handler, s, &s->streams[0], err) < 0 ||
        kage_output_new(loop, STDERR_FILENO, &output_handler, s, &s->streams[1], err) < 0) {
        kage_screen_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

void kage_screen_free(struct kage_screen *screen)
{
    if (!screen)
        return;
    if (screen->streams[1] && !screen->broken)
        erase(screen);
    kage_timer_free(screen->timer);
    kage_output_free(screen->streams[0]);
    kage_output_free(screen->streams[1]);
    free(screen->status);
    free(screen);
}

void kage_screen_write(struct kage_screen *screen, bool is_stderr, const void *data, size_t len)
{
    if (screen->broken || !len)
        return;
    erase(screen);
    if (screen->on_terminal[is_stderr])
        screen->mid_line = ((const char *)data)[len - 1] != '\n';
    kage_output_write(screen->streams[is_stderr], data, len);
    if (screen->status)
        kage_timer_set(screen->timer, REDRAW_MS);
}

bool kage_screen_busy(const struct kage_screen *screen)
{
    return kage_output_pending(screen->streams[0]) || kage_output_pending(screen->streams[1]);
}

void kage_screen_status(struct kage_screen *screen, const char *text)
{
    if (!screen->want_status)
        return;
    free(screen->status);
    screen->status = text ? kage_printable(text, strlen(text)) : NULL;
    kage_timer_set(screen->timer, 1);
}
