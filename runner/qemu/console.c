#include "runner/qemu/console.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"

/* What the kernel prints first when it panics (kernel/panic.c). */
#define PANIC_MARK "Kernel panic - not syncing"

static void end_line(struct kage_console *c)
{
    const char *panic;

    while (c->line_len && c->line[c->line_len - 1] == '\r')
        c->line_len--;
    c->line[c->line_len] = '\0';
    panic = strstr(c->line, PANIC_MARK);
    if (panic && !c->panicked) {
        c->panicked = true;
        strcpy(c->panic, panic); /* as long as line at most */
    }
    c->line_len = 0;
}

void kage_console_add(struct kage_console *c, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        c->ring[(c->start + c->len) % KAGE_CONSOLE_KEEP] = data[i];
        if (c->len < KAGE_CONSOLE_KEEP)
            c->len++;
        else
            c->start = (c->start + 1) % KAGE_CONSOLE_KEEP;
        if (data[i] == '\n')
            end_line(c);
        else if (data[i] && c->line_len < sizeof c->line - 1)
            c->line[c->line_len++] = data[i];
    }
}

char *kage_console_tail(const struct kage_console *c, unsigned lines)
{
    struct kage_buf flat = {0}, out = {0};
    size_t from;

    for (size_t i = 0; i < c->len; i++) {
        char ch = c->ring[(c->start + i) % KAGE_CONSOLE_KEEP];

        if (ch != '\r')
            kage_buf_addc(&flat, ch);
    }
    while (flat.len && flat.data[flat.len - 1] == '\n')
        flat.data[--flat.len] = '\0';
    for (from = flat.len; from && lines; from--)
        if (flat.data[from - 1] == '\n' && --lines == 0)
            break;
    while (from < flat.len) {
        const char *line = flat.data + from;
        const char *nl = memchr(line, '\n', flat.len - from);
        size_t n = nl ? (size_t)(nl - line) : flat.len - from;
        KAGE_CLEANUP(kage_freep) char *text = kage_printable(line, n);

        kage_buf_addf(&out, "  %s\n", text);
        from += n + 1;
    }
    kage_buf_done(&flat);
    return kage_buf_take(&out);
}
