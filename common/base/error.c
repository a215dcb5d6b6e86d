#include "common/base/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"

static const char *const class_names[] = {
    [KAGE_CLASS_NONE] = "none",
    [KAGE_CLASS_SPEC] = "spec",
    [KAGE_CLASS_HOST] = "host",
    [KAGE_CLASS_IMAGE] = "image",
    [KAGE_CLASS_BOOT] = "boot",
    [KAGE_CLASS_PANIC] = "panic",
    [KAGE_CLASS_AGENT_LOST] = "agent-lost",
    [KAGE_CLASS_MOUNT] = "mount",
    [KAGE_CLASS_COMMAND] = "command",
    [KAGE_CLASS_SIGNAL] = "signal",
    [KAGE_CLASS_TIMEOUT] = "timeout",
    [KAGE_CLASS_INTERRUPTED] = "interrupted",
    [KAGE_CLASS_INTERNAL] = "internal",
};
static_assert(sizeof class_names / sizeof *class_names == KAGE_CLASS_COUNT, "a name per class");

const char *kage_class_name(enum kage_class class)
{
    return (unsigned)class < KAGE_CLASS_COUNT ? class_names[class] : "unknown";
}

static void set_va(struct kage_error *err, enum kage_class class, int errnum, const char *fmt,
                   va_list ap)
{
    struct kage_buf text = {0};

    kage_buf_vaddf(&text, fmt, ap);
    if (errnum)
        kage_buf_addf(&text, ": %s", strerror(errnum));
    free(err->message);
    err->class = class;
    err->message = kage_buf_take(&text);
    err->loc = (struct kage_loc){0};
}

int kage_error_set(struct kage_error *err, enum kage_class class, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return -1;
    va_start(ap, fmt);
    set_va(err, class, 0, fmt, ap);
    va_end(ap);
    return -1;
}

int kage_error_errno(struct kage_error *err, enum kage_class class, int errnum, const char *fmt,
                     ...)
{
    va_list ap;

    if (!err)
        return -1;
    va_start(ap, fmt);
    set_va(err, class, errnum, fmt, ap);
    va_end(ap);
    return -1;
}

int kage_error_wrap(struct kage_error *err, const char *fmt, ...)
{
    struct kage_buf text = {0};
    va_list ap;

    if (!err)
        return -1;
    va_start(ap, fmt);
    kage_buf_vaddf(&text, fmt, ap);
    va_end(ap);
    kage_buf_addf(&text, ": %s", err->message ? err->message : "unknown error");
    free(err->message);
    err->message = kage_buf_take(&text);
    return -1;
}

void kage_error_done(struct kage_error *err)
{
    if (!err)
        return;
    free(err->message);
    *err = (struct kage_error){0};
}
