/* The located tree: positions, limits, aliases, and what YAML 1.2 makes of scalars. */
#include "runner/yaml/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/yaml/arena.h"
#include "runner/yaml/scalar.h"

struct parsed {
    struct kage_arena *arena;
    struct kage_diags *diags;
    struct kage_node *root;
};

static struct parsed parse_n(const char *text, size_t len)
{
    struct parsed p = {kage_arena_new(), kage_diags_new(), NULL};
    const char *file = kage_diags_file(p.diags, "t.yaml", text, len);
    p.root = kage_yaml_parse(p.arena, file, text, len, p.diags);
    return p;
}

static struct parsed parse(const char *text)
{
    return parse_n(text, strlen(text));
}

static void done(struct parsed *p)
{
    kage_arena_free(p->arena);
    kage_diags_free(p->diags);
}

static const struct kage_finding *only_finding(struct parsed *p)
{
    size_t n;
    struct kage_finding *const *list = kage_diags_list(p->diags, &n);
    assert_int_equal(n, 1);
    return list[0];
}

static void expect_code(const char *text, int code, int line, int col)
{
    struct parsed p = parse(text);
    const struct kage_finding *f = only_finding(&p);
    assert_int_equal(f->code, code);
    assert_int_equal(f->at.loc.line, line);
    assert_int_equal(f->at.loc.col, col);
    done(&p);
}

static void positions(void **state)
{
    struct parsed p = parse("a: 1\nlist:\n  - x\n  - {k: \"v w\"}\nm:\n  n: é日 # c\n");
    assert_non_null(p.root);
    assert_int_equal(p.root->kind, KAGE_NODE_MAP);
    assert_int_equal(p.root->n, 3);
    const struct kage_node *list = kage_node_find(p.root, "list")->value;
    assert_int_equal(list->kind, KAGE_NODE_LIST);
    assert_int_equal(list->items[0]->at.loc.line, 3);
    assert_int_equal(list->items[0]->at.loc.col, 5);
    const struct kage_node *v = kage_node_find(list->items[1], "k")->value;
    assert_int_equal(v->at.loc.line, 4);
    assert_int_equal(v->at.loc.col, 9);
    assert_int_equal(v->at.width, 5);
    assert_int_equal(v->style, KAGE_STYLE_QUOTED);
    assert_true(v->one_line);
    const struct kage_node *n = kage_node_find(kage_node_find(p.root, "m")->value, "n")->value;
    assert_int_equal(n->at.width, 2); /* code points, not bytes */
    assert_string_equal(n->text, "é日");
    assert_null(kage_node_find(p.root, "none"));
    done(&p);
}

static void aliases_share_the_node(void **state)
{
    struct parsed p = parse("a: &x {k: v}\nb: *x\nc: [*x, *x]\n");
    const struct kage_node *a = kage_node_find(p.root, "a")->value;
    const struct kage_node *c = kage_node_find(p.root, "c")->value;
    assert_ptr_equal(a, kage_node_find(p.root, "b")->value);
    assert_ptr_equal(a, c->items[1]);
    assert_int_equal(a->weight, 3);
    assert_int_equal(c->weight, 7);
    size_t n;
    kage_diags_list(p.diags, &n);
    assert_int_equal(n, 0);
    done(&p);
}

static void later_anchor_of_a_name_wins(void **state)
{
    struct parsed p = parse("a: &x 1\nb: *x\nc: &x 2\nd: *x\n");
    assert_string_equal(kage_node_find(p.root, "b")->value->text, "1");
    assert_string_equal(kage_node_find(p.root, "d")->value->text, "2");
    done(&p);
}

static void first_of_duplicates_is_kept(void **state)
{
    struct parsed p = parse("a: 1\nb: 2\na: 3\n");
    const struct kage_finding *f = only_finding(&p);
    assert_int_equal(f->code, K102_DUPLICATE_KEY);
    assert_int_equal(f->at.loc.line, 3);
    assert_int_equal(f->also.loc.line, 1);
    assert_int_equal(p.root->n, 2);
    assert_string_equal(kage_node_find(p.root, "a")->value->text, "1");
    done(&p);
}

static void broken_values_are_marked(void **state)
{
    struct parsed p = parse("a: *none\nb: c\n");
    assert_non_null(p.root);
    assert_true(kage_node_find(p.root, "a")->value->broken);
    assert_false(kage_node_find(p.root, "b")->value->broken);
    done(&p);
}

static void findings_have_their_place(void **state)
{
    expect_code("a:\n\tb: c\n", K101_TAB, 2, 1);
    expect_code("a: {<<: b}\n", K106_MERGE_KEY, 1, 5);
    expect_code("a: &x [*x]\n", K107_ALIAS, 1, 8);
    expect_code("a: b\n--- c\n", K109_SECOND_DOCUMENT, 2, 1);
    expect_code("a: !t b\n", K110_TAG, 1, 4);
    expect_code("a: b\xc3\n", K111_ENCODING, 1, 5);
    expect_code("a: b\x07\n", K111_ENCODING, 1, 5);
    expect_code("a: [${X}]\n", K113_BARE_REFERENCE, 1, 5);
    expect_code("a:1\nb: c\n", K114_MISSING_SPACE, 1, 1);
    expect_code("a: &x b\n", K116_UNUSED_ANCHOR, 1, 4);
    expect_code("[a]: b\n", K203_WRONG_TYPE, 1, 1);
    expect_code("a: [b\n", K100_SYNTAX, 1, 4);
}

static void lines_end_as_in_editors(void **state)
{
    expect_code("a: 1\r\nb: 2\r\na: 3\r\n", K102_DUPLICATE_KEY, 3, 1);
    expect_code("a: 1\rb: 2\ra: 3\r", K102_DUPLICATE_KEY, 3, 1);
}

static char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
    struct kage_buf b = {0};
    kage_buf_adds(&b, head);
    for (size_t i = 0; i < n; i++)
        kage_buf_adds(&b, unit);
    kage_buf_adds(&b, tail);
    return kage_buf_take(&b);
}

static void depth_is_limited(void **state)
{
    static const struct {
        size_t n;
        bool ok;
    } cases[] = {{31, true}, {32, false}, {100000, false}};
    for (size_t i = 0; i < 3; i++) {
        char *text = repeat("a: ", "[", cases[i].n, cases[i].ok ? "" : " ");
        char *closed = repeat(text, "]", cases[i].n, "");
        struct parsed p = parse(closed);
        if (cases[i].ok)
            assert_non_null(p.root);
        else
            assert_int_equal(only_finding(&p)->code, K112_TOO_BIG);
        done(&p);
        free(text);
        free(closed);
    }
}

static void nodes_are_limited(void **state)
{
    char *text = repeat("a: [", "x,", 9997, "]"); /* root, key, list and the items */
    struct parsed p = parse(text);
    assert_non_null(p.root);
    assert_int_equal(p.root->weight, 10000);
    done(&p);
    free(text);
    text = repeat("a: [", "x,", 9998, "]");
    p = parse(text);
    assert_null(p.root);
    assert_int_equal(only_finding(&p)->code, K112_TOO_BIG);
    done(&p);
    free(text);
}

static void size_is_limited(void **state)
{
    char *text = repeat("#", "x", KAGE_YAML_MAX_BYTES, "");
    struct parsed p = parse(text);
    assert_int_equal(only_finding(&p)->code, K112_TOO_BIG);
    done(&p);
    free(text);
}

static void empty_files_have_no_root(void **state)
{
    static const char *const texts[] = {"", "\n", "# only a comment\n"};
    for (size_t i = 0; i < 3; i++) {
        struct parsed p = parse(texts[i]);
        assert_null(p.root);
        size_t n;
        kage_diags_list(p.diags, &n);
        assert_int_equal(n, 0);
        done(&p);
    }
}

/* One long text, and aliases of it. */
static void aliases_of_text_are_limited(void **state)
{
    struct kage_buf text = {0};
    kage_buf_addf(&text, "a: &a \"%0100000d\"\nb: [", 7);
    for (int i = 0; i < 10; i++)
        kage_buf_adds(&text, "*a, ");
    kage_buf_adds(&text, "]\n");
    struct parsed p = parse(text.data);
    assert_non_null(p.root);
    assert_int_equal(p.root->bytes, 1100002);
    done(&p);
    kage_buf_adds(&text, "c: *a\n");
    p = parse(text.data);
    assert_null(p.root);
    assert_int_equal(only_finding(&p)->code, K108_EXPANSION);
    assert_int_equal(only_finding(&p)->at.loc.line, 3);
    done(&p);
    kage_buf_done(&text);
}

/* None of these may take time that grows faster than the file. */
static void hostile_files_are_quick(void **state)
{
    struct kage_buf bomb = {0};
    kage_buf_adds(&bomb, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 60; i++) {
        kage_buf_addf(&bomb, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            kage_buf_addf(&bomb, "*a%d,", i - 1);
        kage_buf_adds(&bomb, "]\n");
    }
    struct kage_buf tags = {0};
    for (int i = 0; i < 45000; i++)
        kage_buf_addf(&tags, "%%TAG !a%d! tag:a\n", i);
    char *texts[] = {
        kage_buf_take(&bomb),
        kage_buf_take(&tags),
        repeat("a: ", "[", 100000, ""),
        repeat("a: ", "{a: ", 100000, ""),
        repeat("", "- ", 100000, ""),
        repeat("", "? ", 100000, ""),
        repeat("a: ", "x", 1000000, ""),
        repeat("a: \"", "\\n", 500000, "\""),
        repeat("a: >\n", "  x\n", 250000, ""),
        repeat("a: [", "x,", 500000, "]"),
        repeat("", "x", 1000000, ": y"),
        repeat("a: [", "\"${", 300000, "]"),
        repeat("a: ", "&x ", 300000, ""),
        repeat("a: ", "!x ", 300000, ""),
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        struct parsed p = parse(texts[i]);
        done(&p);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        /* the bar is 0.1 s; sanitizers cost up to ten times that */
        if (s > 1.0)
            fail_msg("text %zu took %.3f s", i, s);
        free(texts[i]);
    }
}

static enum kage_scalar_kind resolve(const char *text, enum kage_node_style style)
{
    char *copy = kage_strdup(text);
    struct kage_node node = {
        .kind = KAGE_NODE_SCALAR, .style = style, .text = copy, .len = strlen(text)};
    enum kage_scalar_kind kind = kage_scalar_resolve(&node);
    free(copy);
    return kind;
}

static void scalars_resolve_as_in_core_schema(void **state)
{
    static const struct {
        const char *text;
        enum kage_scalar_kind kind;
    } cases[] = {
        {"", KAGE_SCALAR_NULL},         {"~", KAGE_SCALAR_NULL},
        {"null", KAGE_SCALAR_NULL},     {"nULL", KAGE_SCALAR_STRING},
        {"true", KAGE_SCALAR_BOOL},     {"FALSE", KAGE_SCALAR_BOOL},
        {"tRUE", KAGE_SCALAR_STRING},   {"yes", KAGE_SCALAR_STRING},
        {"no", KAGE_SCALAR_STRING},     {"off", KAGE_SCALAR_STRING},
        {"0", KAGE_SCALAR_INT},         {"-12", KAGE_SCALAR_INT},
        {"+3", KAGE_SCALAR_INT},        {"0644", KAGE_SCALAR_INT},
        {"0o17", KAGE_SCALAR_INT},      {"0o18", KAGE_SCALAR_STRING},
        {"0xfF", KAGE_SCALAR_INT},      {"0x", KAGE_SCALAR_STRING},
        {"1_000", KAGE_SCALAR_STRING},  {"22:22", KAGE_SCALAR_STRING},
        {"1.5", KAGE_SCALAR_FLOAT},     {".5", KAGE_SCALAR_FLOAT},
        {"1.", KAGE_SCALAR_FLOAT},      {"1e3", KAGE_SCALAR_FLOAT},
        {"-1.5E-3", KAGE_SCALAR_FLOAT}, {".inf", KAGE_SCALAR_FLOAT},
        {"-.INF", KAGE_SCALAR_FLOAT},   {".NaN", KAGE_SCALAR_FLOAT},
        {".", KAGE_SCALAR_STRING},      {"e3", KAGE_SCALAR_STRING},
        {"1.2.3", KAGE_SCALAR_STRING},  {"-", KAGE_SCALAR_STRING},
        {"1e", KAGE_SCALAR_STRING},     {"2026-01-31", KAGE_SCALAR_STRING},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (resolve(cases[i].text, KAGE_STYLE_PLAIN) != cases[i].kind)
            fail_msg("'%s' is not %s", cases[i].text, kage_scalar_kind_name(cases[i].kind));
        assert_int_equal(resolve(cases[i].text, KAGE_STYLE_QUOTED), KAGE_SCALAR_STRING);
    }
}

static void old_yaml_is_recognised(void **state)
{
    assert_true(kage_scalar_is_old_bool("Yes"));
    assert_true(kage_scalar_is_old_bool("OFF"));
    assert_false(kage_scalar_is_old_bool("true"));
    assert_true(kage_scalar_is_octal_like("0644"));
    assert_true(kage_scalar_is_octal_like("-00"));
    assert_false(kage_scalar_is_octal_like("0"));
    assert_false(kage_scalar_is_octal_like("0.5"));
    assert_false(kage_scalar_is_octal_like("0x1"));
    assert_true(kage_scalar_is_sexagesimal("22:22"));
    assert_true(kage_scalar_is_sexagesimal("1:2:3"));
    assert_false(kage_scalar_is_sexagesimal("8080:80"));
    assert_false(kage_scalar_is_sexagesimal("01:30"));
    assert_false(kage_scalar_is_sexagesimal("1:"));
}

static void big_integers_overflow(void **state)
{
    char text[] = "9223372036854775807", more[] = "9223372036854775808";
    struct kage_node node = {.kind = KAGE_NODE_SCALAR, .text = text};
    int64_t value = 5;
    assert_int_equal(kage_scalar_int(&node, &value), 0);
    assert_true(value == INT64_MAX);
    node.text = more;
    value = 5;
    assert_int_equal(kage_scalar_int(&node, &value), -1);
    assert_true(value == 5);
}

static void arena_grows_lists(void **state)
{
    struct kage_arena *arena = kage_arena_new();
    int *items = NULL;
    for (size_t n = 0; n < 5000; n++) {
        items = kage_arena_push(arena, items, n, sizeof(*items));
        items[n] = (int)n;
    }
    for (int n = 0; n < 5000; n++)
        assert_int_equal(items[n], n);
    assert_string_equal(kage_arena_printf(arena, "%s-%d", "a", 1), "a-1");
    assert_null(kage_arena_strdup(arena, NULL));
    kage_arena_freep(&arena);
    assert_null(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions),
        cmocka_unit_test(aliases_share_the_node),
        cmocka_unit_test(later_anchor_of_a_name_wins),
        cmocka_unit_test(first_of_duplicates_is_kept),
        cmocka_unit_test(broken_values_are_marked),
        cmocka_unit_test(findings_have_their_place),
        cmocka_unit_test(lines_end_as_in_editors),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(nodes_are_limited),
        cmocka_unit_test(size_is_limited),
        cmocka_unit_test(empty_files_have_no_root),
        cmocka_unit_test(aliases_of_text_are_limited),
        cmocka_unit_test(hostile_files_are_quick),
        cmocka_unit_test(scalars_resolve_as_in_core_schema),
        cmocka_unit_test(old_yaml_is_recognised),
        cmocka_unit_test(big_integers_overflow),
        cmocka_unit_test(arena_grows_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
