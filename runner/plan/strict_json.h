#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/error.h"

struct cJSON;

/*
 * JSON that kage reads: plans, host facts, results of its workers. Strict: one
 * object, no key twice anywhere, no \u0000, no key that the reader does not
 * know. Errors name the file and the path to the value ("frames[2].name").
 */
int kage_json_load(const char *path, struct cJSON **ret, struct kage_error *err);
/* The same for text that does not come from a file. */
int kage_json_parse(const struct kage_buf *text, struct cJSON **ret, struct kage_error *err);
void kage_json_free(struct cJSON *root);

/* Writes s as a JSON string with its quotes. */
void kage_json_put(struct kage_buf *out, const char *s);

/* One object being read. The first failure sticks, later calls give empty values; the caller
 * checks `failed` once at the end. */
struct kage_json_obj {
    const struct cJSON *obj;
    const char *path; /* where it stands, for messages; "" for the root */
    struct kage_error *err;
    bool failed;
};

/* `keys`: every key the object may have, separated by spaces. */
struct kage_json_obj kage_json_open(const struct cJSON *item, const char *path, const char *keys,
                                    struct kage_error *err);

/* Absent optional strings are NULL. Strings are owned by the caller. */
char *kage_json_str(struct kage_json_obj *o, const char *key, bool required);
uint64_t kage_json_u64(struct kage_json_obj *o, const char *key, uint64_t min, uint64_t max,
                       uint64_t absent);
bool kage_json_bool(struct kage_json_obj *o, const char *key, bool absent);
/* A list; NULL and failed when it is absent or something else. */
const struct cJSON *kage_json_list(struct kage_json_obj *o, const char *key);
/* Whatever stands under `key`; NULL and failed when nothing does. */
const struct cJSON *kage_json_member(struct kage_json_obj *o, const char *key);
bool kage_json_has(struct kage_json_obj *o, const char *key);
/* The object under `key` as compact text, owned. */
char *kage_json_object_text(struct kage_json_obj *o, const char *key);

size_t kage_json_list_len(const struct cJSON *list);
const struct cJSON *kage_json_list_next(const struct cJSON *list, const struct cJSON *item);
/* The item as text, or NULL when it is no string. Borrowed. */
const char *kage_json_item_str(const struct cJSON *item);
/* Whether the item is an object whose `key` is this text. */
bool kage_json_item_is(const struct cJSON *item, const char *key, const char *text);
bool kage_json_item_int(const struct cJSON *item, int64_t min, int64_t max, int64_t *ret);

/* Fails the object with "<path>.<key> <what>". */
void kage_json_fail(struct kage_json_obj *o, const char *key, const char *what);
