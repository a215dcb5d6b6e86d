#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

int kage_written(int code)
{
    const char *why = fflush(stdout) != 0 ? strerror(errno) : NULL;

    if ((!why && !ferror(stdout)) || code)
        return code;
    fprintf(stderr, "kage: cannot write to standard output%s%s\n", why ? ": " : "", why ? why : "");
    return 1;
}
