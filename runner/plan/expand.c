#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/plan/options.h"
#include "runner/plan/plan.h"

/* Replaces the placeholder at s ("%{name}"); returns its length, or 0 with err set. */
static size_t expand_one(const char *s, const char *(*lookup)(const char *name, void *user),
                         void *user, struct kage_buf *out, struct kage_error *err)
{
    const char *end = strchr(s, '}');
    KAGE_CLEANUP(kage_freep) char *name = NULL;
    const char *value;

    if (s[1] != '{' || !end || !kage_placeholder_valid(s + 2, (size_t)(end - s - 2))) {
        KAGE_CLEANUP(kage_freep) char *shown = kage_printable(s, strlen(s));

        kage_error_set(err, KAGE_CLASS_SPEC, "'%s' is not a placeholder of a plan", shown);
        return 0;
    }
    name = kage_strndup(s + 2, (size_t)(end - s - 2));
    value = lookup(name, user);
    if (!value) {
        kage_error_set(err, KAGE_CLASS_INTERNAL, "this run has nothing to put for %%{%s}", name);
        return 0;
    }
    kage_buf_adds(out, value);
    return (size_t)(end - s + 1);
}

char *kage_plan_expand(const char *text, const char *(*lookup)(const char *name, void *user),
                       void *user, struct kage_error *err)
{
    struct kage_buf out = {0};

    while (*text) {
        size_t n = strcspn(text, "%");

        kage_buf_add(&out, text, n);
        text += n;
        if (!*text)
            break;
        if (text[1] == '%') {
            kage_buf_addc(&out, '%');
            text += 2;
            continue;
        }
        n = expand_one(text, lookup, user, &out, err);
        if (n == 0) {
            kage_buf_done(&out);
            return NULL;
        }
        text += n;
    }
    return kage_buf_take(&out);
}
