#include "runner/report/mask.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

#define STARS "***"
/* Lines of a secret that are shorter would hide half of everything: braces, "ok", … */
#define LINE_MIN 4

struct needle {
    char *text;
    size_t len;
};

struct kage_mask {
    struct needle *needles; /* the longest first */
    size_t n, cap;
    bool first[256]; /* bytes that one of them begins with */
};

struct kage_mask *kage_mask_new(void)
{
    return kage_alloc(sizeof(struct kage_mask));
}

void kage_mask_free(struct kage_mask *mask)
{
    if (!mask)
        return;
    for (size_t i = 0; i < mask->n; i++)
        free(mask->needles[i].text);
    free(mask->needles);
    free(mask);
}

static int longest_first(const void *a, const void *b)
{
    const struct needle *x = a, *y = b;

    return (x->len < y->len) - (x->len > y->len);
}

static void add(struct kage_mask *mask, const char *text, size_t len)
{
    if (!len)
        return;
    mask->needles = kage_array_grow(mask->needles, &mask->cap, mask->n + 1, sizeof *mask->needles);
    mask->needles[mask->n++] = (struct needle){kage_strndup(text, len), len};
    mask->first[(unsigned char)*text] = true;
    qsort(mask->needles, mask->n, sizeof *mask->needles, longest_first);
}

void kage_mask_add(struct kage_mask *mask, const char *secret)
{
    add(mask, secret, strlen(secret));
    if (!strpbrk(secret, "\r\n"))
        return;
    while (*secret) {
        size_t n = strcspn(secret, "\r\n");

        if (n >= LINE_MIN)
            add(mask, secret, n);
        secret += n + strspn(secret + n, "\r\n");
    }
}

/* How many bytes at s are a secret; 0 for none. SIZE_MAX: more must come to know. */
static size_t match(const struct kage_mask *mask, const char *s, size_t len, bool end)
{
    size_t found = 0;

    if (!mask->first[(unsigned char)*s])
        return 0;
    for (size_t i = 0; i < mask->n; i++) {
        const struct needle *needle = &mask->needles[i];

        if (len < needle->len && !end && !memcmp(s, needle->text, len))
            return SIZE_MAX;
        if (!found && len >= needle->len && !memcmp(s, needle->text, needle->len))
            found = needle->len;
    }
    return found;
}

void kage_mask_write(const struct kage_mask *mask, struct kage_mask_stream *stream,
                     const void *data, size_t len, bool end, struct kage_buf *out)
{
    struct kage_buf *held = &stream->held;
    const char *s;
    size_t n, plain = 0;

    if (!mask || !mask->n) {
        kage_buf_add(out, data, len);
        return;
    }
    kage_buf_add(held, data, len);
    s = held->data;
    n = held->len;
    for (size_t i = 0; i < n;) {
        size_t hit = match(mask, s + i, n - i, end);

        if (hit == SIZE_MAX) {
            n = i;
        } else if (hit) {
            kage_buf_add(out, s + plain, i - plain);
            kage_buf_adds(out, STARS);
            plain = i += hit;
        } else {
            i++;
        }
    }
    if (n)
        kage_buf_add(out, s + plain, n - plain);
    kage_buf_consume(held, n);
}

void kage_mask_stream_done(struct kage_mask_stream *stream)
{
    kage_buf_done(&stream->held);
}

char *kage_mask_text(const struct kage_mask *mask, char *text)
{
    struct kage_mask_stream stream = {0};
    struct kage_buf out = {0};

    if (!text || !mask || !mask->n)
        return text;
    kage_mask_write(mask, &stream, text, strlen(text), true, &out);
    kage_mask_stream_done(&stream);
    free(text);
    return kage_buf_take(&out);
}
