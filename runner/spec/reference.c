#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/spec/fields.h"
#include "runner/spec/schema.h"

static void add_words(struct kage_buf *out, const struct kage_field *f)
{
    for (const struct kage_word *w = f->words; w->word; w++)
        if (strcmp(w->word, "true") != 0 && strcmp(w->word, "false") != 0)
            kage_buf_addf(out, "%s`%s`", w == f->words ? "" : ", ", w->word);
}

static void add_size(struct kage_buf *out, int64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB"};
    int u = 0;
    for (bytes /= 1024; u < 2 && bytes % 1024 == 0; u++)
        bytes /= 1024;
    kage_buf_addf(out, "%lld%s", (long long)bytes, units[u]);
}

static const char *string_type(const struct kage_field *f)
{
    static const char *const names[KAGE_FORM_COUNT] = {
        [KAGE_FORM_NAME] = "name",
        [KAGE_FORM_LABEL] = "name",
        [KAGE_FORM_USER] = "user name",
        [KAGE_FORM_VARIABLE] = "variable name",
        [KAGE_FORM_ABSOLUTE] = "absolute path",
        [KAGE_FORM_TARGET] = "absolute path",
        [KAGE_FORM_INSIDE] = "relative path",
        [KAGE_FORM_SHELL] = "`sh`, `bash` or a path",
        [KAGE_FORM_URL] = "URL",
        [KAGE_FORM_DIGEST] = "digest",
        [KAGE_FORM_CLOCK] = "time",
    };
    return names[f->form] ? names[f->form] : "text";
}

/* What an object that can be a scalar as well is then. */
static void add_object_type(struct kage_buf *out, const struct kage_field *f)
{
    const struct kage_object *o = &kage_objects[f->object];
    if (o->scalar) {
        const struct kage_field *scalar = kage_field_find(f->object, o->scalar);
        if (scalar->words)
            add_words(out, scalar);
        else
            kage_buf_adds(out, string_type(scalar));
        kage_buf_adds(out, " or ");
    }
    kage_buf_addf(out, "[%s](#%s)", o->name, o->name);
}

static void add_type(struct kage_buf *out, const struct kage_field *f)
{
    if (f->shape == KAGE_SHAPE_LIST)
        kage_buf_adds(out, "list: ");
    else if (f->shape == KAGE_SHAPE_MAP)
        kage_buf_adds(out, "map: ");
    switch (f->type) {
    case KAGE_FIELD_VERSION:
        kage_buf_adds(out, "`1`");
        break;
    case KAGE_FIELD_STRING:
        kage_buf_adds(out, string_type(f));
        break;
    case KAGE_FIELD_SCALAR:
        kage_buf_adds(out, "text");
        break;
    case KAGE_FIELD_INT:
        kage_buf_addf(out, "%lld to %lld", (long long)f->min, (long long)f->max);
        break;
    case KAGE_FIELD_BOOL:
        kage_buf_adds(out, "`true` or `false`");
        break;
    case KAGE_FIELD_WORD:
        add_words(out, f);
        break;
    case KAGE_FIELD_SIZE:
        kage_buf_adds(out, "size, ");
        add_size(out, f->min);
        kage_buf_adds(out, " to ");
        add_size(out, f->max);
        break;
    case KAGE_FIELD_DURATION:
        kage_buf_adds(out, "duration");
        break;
    case KAGE_FIELD_FORWARD:
        kage_buf_adds(out, "`[ADDR:]HOST:GUEST[/udp]`");
        break;
    case KAGE_FIELD_OBJECT:
        add_object_type(out, f);
        break;
    case KAGE_FIELD_MATRIX:
        kage_buf_adds(out, "map: lists of texts; and `exclude`");
        break;
    case KAGE_FIELD_COUNT:
        break;
    }
    if (f->shape == KAGE_SHAPE_ONE_OR_LIST)
        kage_buf_adds(out, ", or a list of them");
}

/* A field that only some forms of its object have. */
static void add_forms(struct kage_buf *out, const struct kage_object *o, const struct kage_field *f)
{
    const char *sep = " Only with ";
    for (const struct kage_object_form *form = o->forms; f->forms && form && form->bit; form++) {
        const char *key = form->key ? form->key : form->word;
        if (!(f->forms & form->bit) || strcmp(key, f->name) == 0)
            continue;
        kage_buf_addf(out, "%s`%s%s%s`", sep, form->key ? "" : o->discriminator,
                      form->key ? "" : ": ", key);
        sep = " or ";
    }
    if (sep[1] == 'o')
        kage_buf_addc(out, '.');
}

/* '|' would end the cell of the table, and `<` start a tag. */
static void add_cell(struct kage_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|' || *text == '*' || *text == '<')
            kage_buf_addc(out, '\\');
        kage_buf_addc(out, *text);
    }
}

static void add_object(struct kage_buf *out, enum kage_object_id id)
{
    const struct kage_object *o = &kage_objects[id];
    size_t n;
    const struct kage_field *fields = kage_fields(id, &n);
    kage_buf_addf(out, "\n### %s\n\n%s\n\n", o->name, o->doc);
    kage_buf_adds(out, "| field | type | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        const struct kage_field *f = &fields[i];
        if (o->scalar_only && strcmp(f->name, o->scalar) == 0)
            continue;
        kage_buf_addf(out, "| `%s` | ", f->name);
        add_type(out, f);
        if (f->required)
            kage_buf_adds(out, " | required | ");
        else
            kage_buf_addf(out, f->fallback ? " | `%s` | " : " | | ", f->fallback);
        add_cell(out, f->doc);
        add_forms(out, o, f);
        kage_buf_adds(out, " |\n");
    }
}

void kage_reference_print(struct kage_buf *out)
{
    for (int id = 0; id < KAGE_OBJECT_COUNT; id++)
        add_object(out, (enum kage_object_id)id);
}
