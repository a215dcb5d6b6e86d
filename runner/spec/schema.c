#include "runner/spec/schema.h"

#include <cJSON.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/spec/fields.h"

/*
 * Two things make this more than a walk over the table. Texts may hold ${…}, whose value nobody
 * knows here, so every pattern has `${` as an alternative ("$${" is no reference). And ranges of
 * sizes and ports have to become patterns: the schema must turn down 127MiB where 128MiB is the
 * least.
 */
#define REFERENCE "(?:^|[^$])\\$\\{"

static cJSON *typed(const char *type)
{
    cJSON *schema = cJSON_CreateObject();
    cJSON_AddStringToObject(schema, "type", type);
    return schema;
}

static void add_string(cJSON *list, const char *s)
{
    cJSON_AddItemToArray(list, cJSON_CreateString(s));
}

/* A list of one string, as "required" has it. */
static cJSON *requires(const char *key)
{
    cJSON *schema = cJSON_CreateObject();
    add_string(cJSON_AddArrayToObject(schema, "required"), key);
    return schema;
}

/* Decimal numbers of low … high, without leading zeros, as alternatives of a regex: the widest
 * blocks of numbers that differ in one digit and those behind it. */
static void add_range(struct kage_buf *out, int64_t low, int64_t high)
{
    bool first = true;
    kage_buf_adds(out, "(?:");
    while (low <= high) {
        int64_t unit = 1;
        int zeros = 0;
        while (low > 0 && low % (unit * 10) == 0 && low + unit * 10 - 1 <= high) {
            unit *= 10;
            zeros++;
        }
        int from = (int)(low / unit % 10), to = from;
        int64_t last = low + unit - 1;
        while (to < 9 && last + unit <= high && !(low == 0 && unit > 1)) {
            to++;
            last += unit;
        }
        kage_buf_adds(out, first ? "" : "|");
        first = false;
        if (low / unit / 10)
            kage_buf_addf(out, "%lld", (long long)(low / unit / 10));
        if (from == to)
            kage_buf_addf(out, "%d", from);
        else
            kage_buf_addf(out, "[%d-%d]", from, to);
        if (zeros)
            kage_buf_addf(out, zeros > 1 ? "[0-9]{%d}" : "[0-9]", zeros);
        low = last + 1;
    }
    kage_buf_addc(out, ')');
}

/* Nine digits are all that units.c reads. */
#define MAX_NUMBER INT64_C(999999999)

static void add_size_pattern(struct kage_buf *out, const struct kage_field *f)
{
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    bool limited = f->min || f->max;
    kage_buf_adds(out, "^(?:");
    const char *sep = "";
    for (int u = 0; u < 3; u++) {
        int64_t unit = INT64_C(1024) << (10 * u);
        int64_t low = limited ? (f->min + unit - 1) / unit : 1;
        int64_t high = limited ? f->max / unit : MAX_NUMBER;
        low = low < 1 ? 1 : low;
        high = high > MAX_NUMBER ? MAX_NUMBER : high;
        if (low > high)
            continue;
        kage_buf_adds(out, sep);
        add_range(out, low, high);
        kage_buf_adds(out, units[u]);
        sep = "|";
    }
    kage_buf_adds(out, ")$");
}

static void add_forward_pattern(struct kage_buf *out)
{
    kage_buf_adds(out, "^(?:(?:");
    for (int i = 0; i < 4; i++) {
        kage_buf_adds(out, i ? "\\." : "");
        add_range(out, 0, 255);
    }
    kage_buf_adds(out, "):)?");
    add_range(out, 1, 65535);
    kage_buf_addc(out, ':');
    add_range(out, 1, 65535);
    kage_buf_adds(out, "(?:/(?:tcp|udp))?$");
}

static const char duration_pattern[] = "^(?=.)(?:[1-9][0-9]{0,8}h)?(?:[1-9][0-9]{0,8}m)?"
                                       "(?:[1-9][0-9]{0,8}s)?(?:[1-9][0-9]{0,8}ms)?$";

/* A string by a pattern, or one that is yet to be expanded. */
static cJSON *pattern(const struct kage_field *f, const char *regex)
{
    cJSON *schema = typed("string");
    KAGE_CLEANUP(kage_freep) char *both = kage_asprintf("%s|" REFERENCE, regex);
    cJSON_AddStringToObject(schema, "pattern", f->raw ? regex : both);
    return schema;
}

static cJSON *word_schema(const struct kage_field *f)
{
    cJSON *words = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(words, "enum");
    for (const struct kage_word *w = f->words; w->word; w++)
        add_string(list, w->word);
    for (const struct kage_word *w = f->words; w->word; w++)
        if (strcmp(w->word, "true") == 0 || strcmp(w->word, "false") == 0)
            cJSON_AddItemToArray(list, cJSON_CreateBool(w->word[0] == 't'));
    if (f->raw)
        return words;
    cJSON *schema = cJSON_CreateObject(), *any = cJSON_AddArrayToObject(schema, "anyOf");
    cJSON_AddItemToArray(any, words);
    cJSON *open = typed("string");
    cJSON_AddStringToObject(open, "pattern", REFERENCE);
    cJSON_AddItemToArray(any, open);
    return schema;
}

static cJSON *scalar_schema(void)
{
    cJSON *schema = cJSON_CreateObject(), *types = cJSON_AddArrayToObject(schema, "type");
    add_string(types, "string");
    add_string(types, "number");
    add_string(types, "boolean");
    return schema;
}

static cJSON *int_schema(const struct kage_field *f)
{
    cJSON *schema = typed("integer");
    if (f->min || f->max) {
        cJSON_AddNumberToObject(schema, "minimum", (double)f->min);
        cJSON_AddNumberToObject(schema, "maximum", (double)f->max);
    }
    return schema;
}

static cJSON *matrix_schema(void)
{
    cJSON *schema = typed("object");
    cJSON *axis = cJSON_AddObjectToObject(schema, "additionalProperties");
    cJSON_AddStringToObject(axis, "type", "array");
    cJSON_AddItemToObject(axis, "items", scalar_schema());
    cJSON_AddNumberToObject(axis, "minItems", 1);
    cJSON *names = cJSON_AddObjectToObject(schema, "propertyNames");
    cJSON_AddStringToObject(names, "pattern", kage_forms[KAGE_FORM_VARIABLE].regex);
    cJSON *exclude =
        cJSON_AddObjectToObject(cJSON_AddObjectToObject(schema, "properties"), "exclude");
    cJSON_AddStringToObject(exclude, "type", "array");
    cJSON_AddStringToObject(exclude, "description",
                            "Combinations to leave out; each names some of the axes.");
    cJSON *item = cJSON_AddObjectToObject(exclude, "items");
    cJSON_AddStringToObject(item, "type", "object");
    cJSON_AddItemToObject(item, "additionalProperties", scalar_schema());
    /* exclude alone is no axis */
    cJSON *any = cJSON_AddArrayToObject(schema, "anyOf");
    cJSON *without = cJSON_CreateObject();
    cJSON_AddItemToObject(without, "not", requires("exclude"));
    cJSON_AddItemToArray(any, without);
    cJSON *more = cJSON_CreateObject();
    cJSON_AddNumberToObject(more, "minProperties", 2);
    cJSON_AddItemToArray(any, more);
    cJSON_AddNumberToObject(schema, "minProperties", 1);
    return schema;
}

static cJSON *item_schema(const struct kage_field *f);

static cJSON *object_reference(const struct kage_field *f)
{
    const struct kage_object *object = &kage_objects[f->object];
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("#/definitions/%s", object->name);
    cJSON *ref = cJSON_CreateObject();
    cJSON_AddStringToObject(ref, "$ref", path);
    cJSON *schema = cJSON_CreateObject();
    cJSON *any = cJSON_AddArrayToObject(schema, object->scalar ? "anyOf" : "allOf");
    if (object->scalar)
        cJSON_AddItemToArray(any, item_schema(kage_field_find(f->object, object->scalar)));
    cJSON_AddItemToArray(any, ref);
    return schema;
}

static cJSON *item_schema(const struct kage_field *f)
{
    KAGE_CLEANUP(kage_buf_done) struct kage_buf regex = {0};
    cJSON *schema;
    switch (f->type) {
    case KAGE_FIELD_VERSION:
        schema = cJSON_CreateObject();
        cJSON_AddNumberToObject(schema, "const", 1);
        return schema;
    case KAGE_FIELD_STRING:
        return kage_forms[f->form].regex ? pattern(f, kage_forms[f->form].regex) : typed("string");
    case KAGE_FIELD_SCALAR:
        return scalar_schema();
    case KAGE_FIELD_INT:
        return int_schema(f);
    case KAGE_FIELD_BOOL:
        return typed("boolean");
    case KAGE_FIELD_WORD:
        return word_schema(f);
    case KAGE_FIELD_SIZE:
        add_size_pattern(&regex, f);
        return pattern(f, regex.data);
    case KAGE_FIELD_DURATION:
        return pattern(f, duration_pattern);
    case KAGE_FIELD_FORWARD:
        add_forward_pattern(&regex);
        return pattern(f, regex.data);
    case KAGE_FIELD_OBJECT:
        return object_reference(f);
    case KAGE_FIELD_MATRIX:
        return matrix_schema();
    case KAGE_FIELD_COUNT:
        break;
    }
    return cJSON_CreateObject();
}

static cJSON *list_schema(const struct kage_field *f)
{
    cJSON *schema = typed("array");
    cJSON_AddItemToObject(schema, "items", item_schema(f));
    if (f->one_inside)
        cJSON_AddNumberToObject(schema, "minItems", 1);
    return schema;
}

static void add_default(cJSON *schema, const struct kage_field *f)
{
    if (!f->fallback)
        return;
    if (f->type == KAGE_FIELD_INT)
        cJSON_AddNumberToObject(schema, "default", atof(f->fallback));
    else if (f->type == KAGE_FIELD_BOOL)
        cJSON_AddBoolToObject(schema, "default", strcmp(f->fallback, "true") == 0);
    else
        cJSON_AddStringToObject(schema, "default", f->fallback);
}

static cJSON *field_schema(const struct kage_field *f)
{
    cJSON *schema;
    if (f->shape == KAGE_SHAPE_ONE) {
        schema = item_schema(f);
    } else if (f->shape == KAGE_SHAPE_LIST) {
        schema = list_schema(f);
    } else if (f->shape == KAGE_SHAPE_ONE_OR_LIST) {
        schema = cJSON_CreateObject();
        cJSON *any = cJSON_AddArrayToObject(schema, "anyOf");
        cJSON_AddItemToArray(any, item_schema(f));
        cJSON_AddItemToArray(any, list_schema(f));
    } else {
        schema = typed("object");
        cJSON_AddItemToObject(schema, "additionalProperties", item_schema(f));
        cJSON *names = cJSON_AddObjectToObject(schema, "propertyNames");
        cJSON_AddStringToObject(names, "pattern", kage_forms[f->key_form].regex);
        if (f->one_inside)
            cJSON_AddNumberToObject(schema, "minProperties", 1);
    }
    cJSON_AddStringToObject(schema, "description", f->doc);
    add_default(schema, f);
    return schema;
}

static bool is_key_of_form(const struct kage_object *o, const struct kage_field *f)
{
    for (const struct kage_object_form *form = o->forms; form->bit; form++)
        if (form->key && strcmp(form->key, f->name) == 0)
            return true;
    return false;
}

/* Exactly one of the keys that tell forms apart; what goes with some of them needs one of those. */
static void add_key_forms(cJSON *schema, const struct kage_object *o,
                          const struct kage_field *fields, size_t n)
{
    cJSON *one = cJSON_AddArrayToObject(schema, "oneOf");
    for (const struct kage_object_form *form = o->forms; form->bit; form++)
        if (!(o->scalar_only && strcmp(form->key, o->scalar) == 0))
            cJSON_AddItemToArray(one, requires(form->key));
    cJSON *dependencies = cJSON_CreateObject();
    for (size_t i = 0; i < n; i++) {
        if (!fields[i].forms || is_key_of_form(o, &fields[i]))
            continue;
        cJSON *needs = cJSON_AddObjectToObject(dependencies, fields[i].name);
        cJSON *any = cJSON_AddArrayToObject(needs, "anyOf");
        for (const struct kage_object_form *form = o->forms; form->bit; form++)
            if (fields[i].forms & form->bit)
                cJSON_AddItemToArray(any, requires(form->key));
    }
    if (dependencies->child)
        cJSON_AddItemToObject(schema, "dependencies", dependencies);
    else
        cJSON_Delete(dependencies);
}

/* For each word of the discriminator what must be there, and what must not. */
static void add_word_forms(cJSON *schema, const struct kage_object *o,
                           const struct kage_field *fields, size_t n)
{
    cJSON *all = cJSON_AddArrayToObject(schema, "allOf");
    for (const struct kage_object_form *form = o->forms; form->bit; form++) {
        cJSON *rule = cJSON_CreateObject();
        cJSON *condition = requires(o->discriminator);
        cJSON *is = cJSON_AddObjectToObject(cJSON_AddObjectToObject(condition, "properties"),
                                            o->discriminator);
        cJSON_AddStringToObject(is, "const", form->word);
        cJSON_AddItemToObject(rule, "if", condition);
        cJSON *then = form->needed ? requires(form->needed) : cJSON_CreateObject();
        cJSON *never = cJSON_AddObjectToObject(then, "properties");
        for (size_t i = 0; i < n; i++)
            if (fields[i].forms && !(fields[i].forms & form->bit))
                cJSON_AddItemToObject(never, fields[i].name, cJSON_CreateFalse());
        cJSON_AddItemToObject(rule, "then", then);
        cJSON_AddItemToArray(all, rule);
    }
}

static void fill_object(cJSON *schema, enum kage_object_id id)
{
    const struct kage_object *o = &kage_objects[id];
    size_t n;
    const struct kage_field *fields = kage_fields(id, &n);
    cJSON_AddStringToObject(schema, "type", "object");
    cJSON_AddStringToObject(schema, "description", o->doc);
    cJSON *required = cJSON_CreateArray();
    cJSON *properties = cJSON_AddObjectToObject(schema, "properties");
    for (size_t i = 0; i < n; i++) {
        if (o->scalar_only && strcmp(fields[i].name, o->scalar) == 0)
            continue;
        cJSON_AddItemToObject(properties, fields[i].name, field_schema(&fields[i]));
        if (fields[i].required)
            add_string(required, fields[i].name);
    }
    if (id == KAGE_OBJECT_JOB)
        cJSON_AddObjectToObject(cJSON_AddObjectToObject(schema, "patternProperties"), "^x-");
    cJSON_AddFalseToObject(schema, "additionalProperties");
    if (required->child)
        cJSON_AddItemToObject(schema, "required", required);
    else
        cJSON_Delete(required);
    if (o->forms && o->discriminator)
        add_word_forms(schema, o, fields, n);
    else if (o->forms)
        add_key_forms(schema, o, fields, n);
}

void kage_schema_print(struct kage_buf *out)
{
    cJSON *schema = cJSON_CreateObject();
    cJSON_AddStringToObject(schema, "$schema", "http://json-schema.org/draft-07/schema#");
    cJSON_AddStringToObject(schema, "title", "kage spec, version 1");
    fill_object(schema, KAGE_OBJECT_JOB);
    cJSON *definitions = cJSON_AddObjectToObject(schema, "definitions");
    for (int id = KAGE_OBJECT_JOB + 1; id < KAGE_OBJECT_COUNT; id++)
        fill_object(cJSON_AddObjectToObject(definitions, kage_objects[id].name),
                    (enum kage_object_id)id);
    char *text = cJSON_Print(schema);
    kage_buf_adds(out, text ? text : "");
    kage_buf_addc(out, '\n');
    cJSON_free(text);
    cJSON_Delete(schema);
}
