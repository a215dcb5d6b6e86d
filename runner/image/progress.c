#include "runner/image/progress.h"

#include <stdio.h>
#include <unistd.h>

static bool bar_stands;

static void end_bar(void)
{
    if (bar_stands)
        fputc('\n', stderr);
    bar_stands = false;
}

void kage_image_show(const char *what, bool lines)
{
    bool terminal = isatty(STDERR_FILENO);

    if (*what != '\r' || !what[1]) {
        end_bar();
        if (*what != '\r' && (lines || terminal))
            fprintf(stderr, "kage: %s\n", what);
    } else if (terminal) {
        /* ECMA-48: erase the line, as the text before may have been longer. */
        fprintf(stderr, "\r\033[Kkage: %s", what + 1);
        fflush(stderr);
        bar_stands = true;
    }
}
