#include "guest/refusal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"

int kage_refuse(struct kage_refusal *why, int code, int errnum, const char *fmt, ...)
{
    struct kage_buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    kage_buf_vaddf(&text, fmt, ap);
    va_end(ap);
    if (errnum)
        kage_buf_addf(&text, ": %s", strerror(errnum));
    kage_refusal_done(why);
    *why = (struct kage_refusal){.code = code, .errnum = errnum, .message = kage_buf_take(&text)};
    return -1;
}

void kage_refusal_done(struct kage_refusal *why)
{
    free(why->message);
    *why = (struct kage_refusal){0};
}
