#include "runner/plan/strict_json.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

/* A spec is at most 1 MiB; its plan repeats the environment for each command. */
#define FILE_MAX (64u * 1024u * 1024u)
/* As a tree these take 300 MiB. */
#define VALUES_MAX (2u * 1024u * 1024u)

static int read_all(const char *path, struct kage_buf *out, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char chunk[16384];
    ssize_t n;

    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_SPEC, errno, "cannot open");
    while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kage_error_errno(err, KAGE_CLASS_SPEC, errno, "cannot read");
        kage_buf_add(out, chunk, (size_t)n);
        if (out->len > FILE_MAX)
            return kage_error_set(err, KAGE_CLASS_SPEC, "longer than %u MiB",
                                  FILE_MAX / 1024 / 1024);
    }
    return 0;
}

/* cJSON ends a string at \u0000 without a word. */
static bool has_nul(const char *s, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (s[i] != '\\')
            continue;
        if (n - i >= 6 && memcmp(s + i + 1, "u0000", 5) == 0)
            return true;
        i++;
    }
    return n && memchr(s, 0, n) != NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* cJSON keeps every member of a name and finds the first. Recursion is bounded by cJSON's own
 * nesting limit. */
static bool has_duplicate(const cJSON *item)
{
    size_t n = 0, i = 0;
    const cJSON *child;
    KAGE_CLEANUP(kage_freep) const char **names = NULL;

    cJSON_ArrayForEach(child, item)
    {
        if (has_duplicate(child))
            return true;
        n++;
    }
    if (!cJSON_IsObject(item) || n < 2)
        return false;
    names = kage_alloc(n * sizeof(*names));
    cJSON_ArrayForEach(child, item) names[i++] = child->string;
    qsort(names, n, sizeof(*names), by_text);
    for (i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return true;
    return false;
}

int kage_json_parse(const struct kage_buf *text, struct cJSON **ret, struct kage_error *err)
{
    const char *end = text->data, *stop = text->data ? text->data + text->len : NULL;
    cJSON *root;

    if (!text->len || !kage_utf8_valid(text->data, text->len))
        return kage_error_set(err, KAGE_CLASS_SPEC, text->len ? "not valid UTF-8" : "empty");
    if (has_nul(text->data, text->len))
        return kage_error_set(err, KAGE_CLASS_SPEC, "holds a NUL character");
    if (kage_json_values(text->data, text->len) > VALUES_MAX)
        return kage_error_set(err, KAGE_CLASS_SPEC, "holds more than %u values", VALUES_MAX);
    root = cJSON_ParseWithLengthOpts(text->data, text->len, &end, false);
    while (root && end < stop && strchr(" \t\r\n", *end))
        end++;
    if (!root || end != stop || !cJSON_IsObject(root) || has_duplicate(root)) {
        bool twice = root && end == stop && cJSON_IsObject(root);
        int line = 1;

        for (const char *p = text->data; p < end; p++)
            line += *p == '\n';
        cJSON_Delete(root);
        return twice ? kage_error_set(err, KAGE_CLASS_SPEC, "holds a key twice")
                     : kage_error_set(err, KAGE_CLASS_SPEC, "not one JSON object (line %d)", line);
    }
    *ret = root;
    return 0;
}

int kage_json_load(const char *path, struct cJSON **ret, struct kage_error *err)
{
    struct kage_buf text = {0};
    int rc = read_all(path, &text, err);

    if (rc == 0)
        rc = kage_json_parse(&text, ret, err);
    kage_buf_done(&text);
    return rc < 0 ? kage_error_wrap(err, "%s", path) : 0;
}

void kage_json_free(struct cJSON *root)
{
    cJSON_Delete(root);
}

void kage_json_put(struct kage_buf *out, const char *s)
{
    kage_buf_addc(out, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            kage_buf_addf(out, "\\%c", c);
        else if (c == '\n')
            kage_buf_adds(out, "\\n");
        else if (c < 0x20 || c == 0x7f)
            kage_buf_addf(out, "\\u%04x", c);
        else
            kage_buf_addc(out, (char)c);
    }
    kage_buf_addc(out, '"');
}

void kage_json_fail(struct kage_json_obj *o, const char *key, const char *what)
{
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(key, strlen(key));

    if (o->failed)
        return;
    o->failed = true;
    kage_error_set(o->err, KAGE_CLASS_SPEC, "%s%s%s %s", o->path, *o->path && *key ? "." : "",
                   shown, what);
}

static bool known(const char *keys, const char *key)
{
    size_t n = strlen(key);

    while (*keys) {
        size_t len = strcspn(keys, " ");

        if (len == n && memcmp(keys, key, n) == 0)
            return true;
        keys += len + (keys[len] == ' ');
    }
    return false;
}

struct kage_json_obj kage_json_open(const struct cJSON *item, const char *path, const char *keys,
                                    struct kage_error *err)
{
    struct kage_json_obj o = {.obj = item, .path = path, .err = err};
    const cJSON *child;

    if (!cJSON_IsObject(item)) {
        kage_json_fail(&o, "", "must be an object");
        return o;
    }
    cJSON_ArrayForEach(child, item) if (!known(keys, child->string))
        kage_json_fail(&o, child->string, "is not known");
    return o;
}

/* The member, or NULL; null counts as absent. */
static const cJSON *member(struct kage_json_obj *o, const char *key, bool required)
{
    const cJSON *item = o->failed ? NULL : cJSON_GetObjectItemCaseSensitive(o->obj, key);

    if (cJSON_IsNull(item))
        item = NULL;
    if (!item && required)
        kage_json_fail(o, key, "is missing");
    return item;
}

char *kage_json_str(struct kage_json_obj *o, const char *key, bool required)
{
    const cJSON *item = member(o, key, required);

    if (item && !cJSON_IsString(item)) {
        kage_json_fail(o, key, "must be a string");
        return NULL;
    }
    return item ? kage_strdup(item->valuestring) : NULL;
}

static bool is_integer(const cJSON *item, double min, double max)
{
    /* Beyond 2^53 doubles skip integers. */
    return cJSON_IsNumber(item) && item->valuedouble == floor(item->valuedouble) &&
           item->valuedouble >= min && item->valuedouble <= max &&
           fabs(item->valuedouble) <= 9007199254740991.0;
}

uint64_t kage_json_u64(struct kage_json_obj *o, const char *key, uint64_t min, uint64_t max,
                       uint64_t absent)
{
    const cJSON *item = member(o, key, false);
    KAGE_CLEANUP(kage_freep) char *what = NULL;

    if (!item)
        return absent;
    if (is_integer(item, (double)min, (double)max))
        return (uint64_t)item->valuedouble;
    what = kage_asprintf("must be an integer from %" PRIu64 " to %" PRIu64, min, max);
    kage_json_fail(o, key, what);
    return absent;
}

bool kage_json_bool(struct kage_json_obj *o, const char *key, bool absent)
{
    const cJSON *item = member(o, key, false);

    if (item && !cJSON_IsBool(item))
        kage_json_fail(o, key, "must be true or false");
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : absent;
}

const struct cJSON *kage_json_list(struct kage_json_obj *o, const char *key)
{
    const cJSON *item = member(o, key, true);

    if (item && !cJSON_IsArray(item)) {
        kage_json_fail(o, key, "must be a list");
        return NULL;
    }
    return item;
}

const struct cJSON *kage_json_member(struct kage_json_obj *o, const char *key)
{
    return member(o, key, true);
}

bool kage_json_has(struct kage_json_obj *o, const char *key)
{
    return member(o, key, false);
}

char *kage_json_object_text(struct kage_json_obj *o, const char *key)
{
    const cJSON *item = member(o, key, true);
    char *text, *copy;

    if (item && !cJSON_IsObject(item)) {
        kage_json_fail(o, key, "must be an object");
        return NULL;
    }
    text = item ? cJSON_PrintUnformatted(item) : NULL;
    copy = kage_strdup(text);
    cJSON_free(text);
    return copy;
}

size_t kage_json_list_len(const struct cJSON *list)
{
    return (size_t)cJSON_GetArraySize(list);
}

const struct cJSON *kage_json_list_next(const struct cJSON *list, const struct cJSON *item)
{
    return item ? item->next : list->child;
}

const char *kage_json_item_str(const struct cJSON *item)
{
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

bool kage_json_item_is(const struct cJSON *item, const char *key, const char *text)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, key);

    return cJSON_IsString(value) && strcmp(value->valuestring, text) == 0;
}

bool kage_json_item_int(const struct cJSON *item, int64_t min, int64_t max, int64_t *ret)
{
    if (!is_integer(item, (double)min, (double)max))
        return false;
    *ret = (int64_t)item->valuedouble;
    return true;
}
