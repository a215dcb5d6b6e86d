#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The spec language as one table. Reading, validation, defaults and "did you mean" walk it today;
 * the JSON Schema, the reference page, completion and hover are printed from it. A new field is
 * one new row here and one new member in the struct the row points at.
 */
enum kage_object_id {
    KAGE_OBJECT_JOB,
    KAGE_OBJECT_IMAGE,
    KAGE_OBJECT_MACHINE,
    KAGE_OBJECT_NETWORK,
    KAGE_OBJECT_SHARE,
    KAGE_OBJECT_MOUNT,
    KAGE_OBJECT_USER,
    KAGE_OBJECT_SECRET,
    KAGE_OBJECT_DEFAULTS,
    KAGE_OBJECT_COMMAND,
    KAGE_OBJECT_EXPECT,
    KAGE_OBJECT_READY,
    KAGE_OBJECT_ARTIFACT,
    KAGE_OBJECT_LIMITS,
    KAGE_OBJECT_COUNT,
};

enum kage_field_type {
    KAGE_FIELD_VERSION, /* the integer 1 */
    KAGE_FIELD_STRING,  /* a string; `form` says which */
    KAGE_FIELD_SCALAR,  /* any scalar, taken as its source text */
    KAGE_FIELD_INT,     /* min … max */
    KAGE_FIELD_BOOL,
    KAGE_FIELD_WORD,     /* one of `words` */
    KAGE_FIELD_SIZE,     /* "512MiB", min … max bytes */
    KAGE_FIELD_DURATION, /* "1m30s" */
    KAGE_FIELD_FORWARD,  /* "[ADDR:]HOST:GUEST[/udp]" */
    KAGE_FIELD_OBJECT,   /* a map with the fields of `object` */
    KAGE_FIELD_MATRIX,   /* axes, each a list of single values, and 'exclude', a list of choices */
    KAGE_FIELD_COUNT,
};

enum kage_field_shape {
    KAGE_SHAPE_ONE,
    KAGE_SHAPE_LIST,
    KAGE_SHAPE_ONE_OR_LIST,
    KAGE_SHAPE_MAP, /* keys of the user's, each in `key_form` */
};

/* Forms of strings; kage_forms[] has the rule of each. */
enum kage_form {
    KAGE_FORM_ANY,
    KAGE_FORM_TEXT, /* not empty */
    KAGE_FORM_LINE, /* no line breaks, tabs or other control characters */
    KAGE_FORM_NAME,
    KAGE_FORM_LABEL,
    KAGE_FORM_USER,
    KAGE_FORM_VARIABLE,
    KAGE_FORM_ABSOLUTE,
    KAGE_FORM_TARGET,
    KAGE_FORM_INSIDE,
    KAGE_FORM_SHELL,
    KAGE_FORM_URL,
    KAGE_FORM_DIGEST,
    KAGE_FORM_CLOCK,
    KAGE_FORM_COUNT,
};

struct kage_form_rule {
    const char *regex; /* ECMA 262, anchored: for the schema and the docs */
    bool (*match)(const char *text);
    int code;         /* the finding for a text that does not match */
    const char *what; /* "'x' is not <what>" */
    const char *help; /* may be NULL */
};

struct kage_word {
    const char *word;
    int value;
};

struct kage_field {
    enum kage_object_id parent;
    const char *name;
    enum kage_field_type type;
    enum kage_field_shape shape;
    const char *doc;      /* one sentence, or a few words */
    const char *fallback; /* the default, as a spec would write it; NULL: none */
    bool required;
    bool raw;        /* ${…} is left as it is */
    bool one_inside; /* LIST, MAP: must not be empty */
    unsigned forms;  /* which forms of the parent have it; 0: all */
    enum kage_form form, key_form;
    const struct kage_word *words;
    int64_t min, max; /* both 0: no limit */
    enum kage_object_id object;

    /* Where the value goes, relative to the parent's struct. loc and at are one more than
     * the offset: 0 means that there is none. */
    size_t offset, size; /* LIST and MAP: offset of the pointer */
    size_t count;        /* LIST and MAP: offset of the size_t */
    size_t loc;          /* a struct kage_loc */
    size_t at;           /* a struct kage_span */
    size_t item_at;      /* LIST of strings: a struct kage_span in each item */
};

/* One of several things an object can be: told apart by the key it must have, or by the word its
 * first field has. */
struct kage_object_form {
    unsigned bit;
    const char *key;    /* the key that makes it this form, or */
    const char *word;   /* the word of `discriminator` that does */
    const char *needed; /* a key this form needs besides; may be NULL */
};

struct kage_object {
    const char *name; /* as in "unknown key 'x' in NAME" */
    const char *doc;
    size_t size;                          /* of its struct, for lists and maps of it */
    size_t loc, at;                       /* where its own place goes, plus one as above */
    size_t key;                           /* char *: where its key in a map goes */
    bool has_key;                         /* (that offset may well be 0) */
    const char *scalar;                   /* the field that a bare scalar stands for */
    bool scalar_only;                     /* … and that cannot be written as a key */
    const char *discriminator;            /* the field that tells the forms apart */
    const struct kage_object_form *forms; /* ends with bit 0 */
};

extern const struct kage_object kage_objects[KAGE_OBJECT_COUNT];
extern const struct kage_form_rule kage_forms[KAGE_FORM_COUNT];

/* The fields of one object, in the order they are documented. */
const struct kage_field *kage_fields(enum kage_object_id object, size_t *n);
const struct kage_field *kage_field_find(enum kage_object_id object, const char *name);
