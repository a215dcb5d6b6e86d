#include <stdarg.h>
#include <stdio.h>

#include "runner/verbs.h"

int kage_usage(const char *verb, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "kage %s: ", verb);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry 'kage %s --help'.\n", verb);
    return -1;
}
