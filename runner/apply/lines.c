#include "runner/apply/lines.h"

#include <string.h>

#include "common/base/alloc.h"

static void put(struct kage_lines *lines, const char *data, size_t len, struct kage_buf *out)
{
    kage_buf_adds(out, lines->prefix);
    kage_buf_adds(out, " | ");
    kage_buf_add(out, data, len);
    kage_buf_addc(out, '\n');
}

void kage_lines_add(struct kage_lines *lines, bool is_stderr, const void *data, size_t len,
                    struct kage_buf *out)
{
    struct kage_buf *held = &lines->held[is_stderr];
    const char *at = data, *end = at + len;

    while (at < end) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        size_t room = KAGE_LINES_MAX - held->len;
        size_t n = (size_t)((feed ? feed : end) - at);

        if (n > room) {
            n = room;
            feed = NULL;
        }
        if (held->len || !feed)
            kage_buf_add(held, at, n);
        if (feed && held->len)
            put(lines, held->data, held->len, out);
        else if (feed)
            put(lines, at, n, out);
        else if (held->len == KAGE_LINES_MAX && at + n < end)
            put(lines, held->data, held->len, out);
        else
            return;
        kage_buf_clear(held);
        at += n + (feed != NULL);
    }
}

void kage_lines_end(struct kage_lines *lines, bool is_stderr, struct kage_buf *out)
{
    struct kage_buf *held = &lines->held[is_stderr];

    if (held->len)
        put(lines, held->data, held->len, out);
    kage_buf_clear(held);
}

void kage_lines_done(struct kage_lines *lines)
{
    kage_buf_done(&lines->held[0]);
    kage_buf_done(&lines->held[1]);
    kage_freep(&lines->prefix);
}
