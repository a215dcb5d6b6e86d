/*
 * Every case of the YAML test suite (tests/yaml-suite) through libyaml and through kage's reader:
 *
 * - nothing crashes or takes long;
 * - what libyaml refuses, kage refuses, too, with a finding of its own that names a place;
 * - what both accept is the value that the suite says it is;
 * - whatever it is, it is no spec, and `kage check` says so at a place.
 *
 * libyaml is a parser of YAML 1.1. The cases where it differs from the suite stand below with the
 * reason, so that another libyaml, or another parser, shows what it changes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <yaml.h>

#include "common/base/alloc.h"
#include "runner/diag/diag.h"
#include "runner/spec/spec.h"
#include "runner/yaml/arena.h"
#include "runner/yaml/scalar.h"
#include "runner/yaml/tree.h"

#define CASES 402
#define INVALID_CASES 94

/* Cases of the suite, and why libyaml sees them differently. */
struct difference {
    const char *why;
    const char *ids; /* separated by single spaces */
};

/* Not YAML, and taken by libyaml all the same. */
static const struct difference taken[] = {
    {"a comment needs no space before it", "9JBA CVW2 SU5Z X4QW"},
    {"in brackets and quotes a line need not be indented", "9C9N QB6E DK95/01 Y79Y/003"},
    {"- may stand alone in brackets", "G5U8 YJV2"},
    {"a directive needs no ... before it", "9HCY EB22 MUS6/01 RHX7"},
    {"a directive may be followed by anything", "MUS6/00"},
    {"empty lines may be indented more than a block's first", "S98Z"},
    {NULL, NULL},
};

/* YAML 1.2, and refused by libyaml. */
static const struct difference refused[] = {
    {"a key may not be missing", "2JQS 6M2F CFD4 FRK4 M2N8/00 NHX8 NKF9 S3PD SM9W/01 UKK6/00"},
    {"in braces a : stands on the line of its key",
     "4MUZ/00 4MUZ/01 4MUZ/02 5MUD 9SA2 K3WX NJ66 UT92 VJP3/01"},
    {"in brackets and braces a text does not begin with :", "58MP 5T43 DBG4 HM87/00"},
    {"a : ends a text in braces, also one of a URL", "4ABK"},
    {"tabs do not separate or indent",
     "6BCT 6CA3 96NN/00 96NN/01 A2M4 DK95/00 DK95/03 DK95/04 Q5MG R4YG Y79Y/001 Y79Y/010"},
    {"directives are those of YAML 1.1", "2LFX 6LVF BEC7 MUS6/05 MUS6/06 W4TN"},
    {"anchors are letters, digits, - and _", "2SXE 8XYN W5VH"},
    {"behind ... a document begins with ---", "7Z25 HWV9 M7A3 QT73"},
    {"a block at the margin is not the document", "DK3J FP8R"},
    {NULL, NULL},
};

/* Both take it, and libyaml reads something else. */
static const struct difference read_differently[] = {
    {"in brackets and braces ? begins a key", "652Z HM87/01"},
    {"spaces at the end of the file belong to no block", "JEF9/02 L24T/01"},
    {"a : ends an anchor", "Y2GN"},
    {NULL, NULL},
};

static bool is_in(const struct difference *list, const char *id)
{
    size_t n = strlen(id);
    for (; list->why; list++)
        for (const char *p = list->ids; p; p = strchr(p, ' ')) {
            p += *p == ' ';
            if (strncmp(p, id, n) == 0 && (p[n] == ' ' || !p[n]))
                return true;
        }
    return false;
}

static size_t count(const struct difference *list)
{
    size_t n = 0;
    for (; list->why; list++, n++)
        for (const char *p = list->ids; *p; p++)
            n += *p == ' ';
    return n;
}

/* The lists are of this version: Debian's, and the newest there is. */
static bool lists_apply(void)
{
    return strcmp(yaml_get_version_string(), "0.2.5") == 0;
}

static cJSON *suite;

static int read_suite(void **state)
{
    FILE *f = fopen(KAGE_SOURCE_DIR "/tests/yaml-suite/cases.json", "re");
    KAGE_CLEANUP(kage_freep) char *text = kage_alloc(1 << 20);
    if (!f)
        return -1;
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    suite = cJSON_ParseWithLength(text, n);
    return cJSON_GetArraySize(suite) == CASES ? 0 : -1;
}

static int drop_suite(void **state)
{
    cJSON_Delete(suite);
    return 0;
}

static const char *text_of(const cJSON *one, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, key));
}

static bool libyaml_takes(const char *text)
{
    yaml_parser_t parser;
    yaml_event_t event;
    bool good = true, more = true;
    assert_true(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, strlen(text));
    while (good && more) {
        good = yaml_parser_parse(&parser, &event);
        if (good) {
            more = event.type != YAML_STREAM_END_EVENT;
            yaml_event_delete(&event);
        }
    }
    yaml_parser_delete(&parser);
    return good;
}

/* Seconds of this process's time since `from`. */
static double spent(const struct timespec *from)
{
    struct timespec to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    return (double)(to.tv_sec - from->tv_sec) + (double)(to.tv_nsec - from->tv_nsec) / 1e9;
}

struct parsed {
    struct kage_arena *arena;
    struct kage_diags *diags;
    const struct kage_node *root;
    const struct kage_finding *error; /* the first one; NULL for none */
};

static struct parsed parse(const char *text)
{
    struct parsed p = {.arena = kage_arena_new(), .diags = kage_diags_new()};
    const char *file = kage_diags_file(p.diags, "case.yaml", text, strlen(text));
    size_t n;
    p.root = kage_yaml_parse(p.arena, file, text, strlen(text), p.diags);
    struct kage_finding *const *list = kage_diags_list(p.diags, &n);
    for (size_t i = 0; i < n && !p.error; i++)
        if (list[i]->severity == KAGE_ERROR)
            p.error = list[i];
    return p;
}

static void done(struct parsed *p)
{
    kage_arena_free(p->arena);
    kage_diags_free(p->diags);
}

/* A place in the text, or right behind its end. */
static bool is_located(const struct kage_finding *f, const char *text)
{
    int lines = 1;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    return f && f->at.loc.line >= 1 && f->at.loc.line <= lines && f->at.loc.col >= 1;
}

static void what_is_invalid_is_refused_at_a_place(void **state)
{
    size_t invalid = 0, n_taken = 0, n_refused = 0, wrong = 0;
    const cJSON *one;
    cJSON_ArrayForEach(one, suite)
    {
        const char *id = text_of(one, "id"), *text = text_of(one, "yaml");
        bool valid = !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(one, "error"));
        bool takes = libyaml_takes(text);
        struct timespec from;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        struct parsed p = parse(text);
        double s = spent(&from);
        invalid += !valid;
        n_taken += !valid && takes;
        n_refused += valid && !takes;
        if (!takes && !is_located(p.error, text)) {
            print_error("%s: libyaml refuses it, and kage names no place\n", id);
            wrong++;
        }
        if (takes && !valid && lists_apply() && !is_in(taken, id)) {
            print_error("%s: invalid, and taken by libyaml\n", id);
            wrong++;
        }
        if (!takes && valid && lists_apply() && !is_in(refused, id)) {
            print_error("%s: valid, and refused by libyaml\n", id);
            wrong++;
        }
        if (s > 0.2) { /* 1 ms is much; the rest is for sanitizers */
            print_error("%s: took %.3f s\n", id, s);
            wrong++;
        }
        done(&p);
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(invalid, INVALID_CASES);
    if (lists_apply()) {
        assert_int_equal(n_taken, count(taken));
        assert_int_equal(n_refused, count(refused));
    }
}

static bool same(const struct kage_node *node, const cJSON *json);

static bool same_map(const struct kage_node *node, const cJSON *json)
{
    if (!cJSON_IsObject(json) || node->n != (size_t)cJSON_GetArraySize(json))
        return false;
    for (size_t i = 0; i < node->n; i++)
        if (!same(node->pairs[i].value,
                  cJSON_GetObjectItemCaseSensitive(json, node->pairs[i].key->text)))
            return false;
    return true;
}

static bool same_list(const struct kage_node *node, const cJSON *json)
{
    if (!cJSON_IsArray(json) || node->n != (size_t)cJSON_GetArraySize(json))
        return false;
    const cJSON *item = json->child;
    for (size_t i = 0; i < node->n; i++, item = item->next)
        if (!same(node->items[i], item))
            return false;
    return true;
}

static bool same(const struct kage_node *node, const cJSON *json)
{
    int64_t value;
    if (node->kind == KAGE_NODE_MAP)
        return same_map(node, json);
    if (node->kind == KAGE_NODE_LIST)
        return same_list(node, json);
    switch (kage_scalar_resolve(node)) {
    case KAGE_SCALAR_NULL:
        return cJSON_IsNull(json);
    case KAGE_SCALAR_BOOL:
        return cJSON_IsBool(json) && cJSON_IsTrue(json) == kage_scalar_bool(node);
    case KAGE_SCALAR_INT:
        return cJSON_IsNumber(json) && kage_scalar_int(node, &value) == 0 &&
               (double)value == json->valuedouble;
    case KAGE_SCALAR_FLOAT:
        return cJSON_IsNumber(json) && strtod(node->text, NULL) == json->valuedouble;
    default:
        return cJSON_IsString(json) && strcmp(node->text, json->valuestring) == 0;
    }
}

static void what_is_valid_has_its_value(void **state)
{
    size_t compared = 0, wrong = 0, differ = 0;
    const cJSON *one;
    cJSON_ArrayForEach(one, suite)
    {
        const char *json = text_of(one, "json");
        struct parsed p = parse(text_of(one, "yaml"));
        bool valid = !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(one, "error"));
        if (json && valid && !p.error && p.root) {
            cJSON *value = cJSON_Parse(json);
            bool equal = same(p.root, value);
            compared++;
            differ += !equal;
            if (!equal && lists_apply() && !is_in(read_differently, text_of(one, "id"))) {
                print_error("%s: another value\n", text_of(one, "id"));
                wrong++;
            }
            cJSON_Delete(value);
        }
        done(&p);
    }
    assert_int_equal(wrong, 0);
    if (lists_apply())
        assert_int_equal(differ, count(read_differently));
    assert_true(compared >= 150); /* the others are of several documents, or have a key twice, … */
}

static void none_is_a_spec(void **state)
{
    size_t wrong = 0;
    const cJSON *one;
    cJSON_ArrayForEach(one, suite)
    {
        const char *text = text_of(one, "yaml");
        struct kage_diags *diags = kage_diags_new();
        struct kage_spec *spec = NULL;
        size_t n;
        int r = kage_spec_load_text("case.yaml", "/", text, strlen(text), &spec, diags);
        struct kage_finding *const *list = kage_diags_list(diags, &n);
        bool located = n > 0;
        for (size_t i = 0; i < n; i++)
            located &= is_located(list[i], text);
        if (r == 0 || spec || !kage_diags_count(diags, KAGE_ERROR) || !located) {
            print_error("%s: returned %d, %zu findings%s\n", text_of(one, "id"), r, n,
                        located ? "" : ", not all at a place");
            wrong++;
        }
        kage_spec_free(spec);
        kage_diags_free(diags);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_invalid_is_refused_at_a_place),
        cmocka_unit_test(what_is_valid_has_its_value),
        cmocka_unit_test(none_is_a_spec),
    };
    return cmocka_run_group_tests(tests, read_suite, drop_suite);
}
