/* Findings: the registry, their order, and every format they are shown in. */
#include "runner/diag/diag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>

#include "common/base/alloc.h"

static struct kage_span at(const char *file, int line, int col, int width)
{
    return (struct kage_span){{file, line, col}, width};
}

static char *render(struct kage_diags *d, enum kage_format format, bool color)
{
    struct kage_buf out = {0};
    kage_diags_render(d, format, color, &out);
    return kage_buf_take(&out);
}

static void registry_is_sound(void **state)
{
    size_t n;
    const struct kage_code *codes = kage_codes(&n);
    assert_true(n > 40);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            assert_true(codes[i - 1].number < codes[i].number);
        assert_in_range(codes[i].number, 100, 999);
        assert_ptr_equal(kage_code_find(codes[i].number), &codes[i]);
        assert_true(*codes[i].title && *codes[i].why && *codes[i].bad && *codes[i].good);
        assert_int_equal(codes[i].why[strlen(codes[i].why) - 1], '.');
    }
    assert_null(kage_code_find(0));
}

static void findings_are_sorted_and_kept_once(void **state)
{
    struct kage_diags *d = kage_diags_new();
    const char *b = kage_diags_file(d, "b.yaml", "x\ny\n", 4);
    const char *a = kage_diags_file(d, "a.yaml", "x\n", 2);
    kage_diags_add(d, K201_UNKNOWN_KEY, at(a, 1, 1, 1), "fourth");
    kage_diags_add(d, K201_UNKNOWN_KEY, at(b, 2, 1, 1), "third");
    kage_diags_add(d, K201_UNKNOWN_KEY, at(b, 1, 2, 1), "second");
    kage_diags_add(d, K303_UNUSED_SHARE, at(b, 1, 1, 1), "first");
    kage_diags_add(d, K201_UNKNOWN_KEY, at(b, 2, 1, 1), "third");
    size_t n;
    struct kage_finding *const *list = kage_diags_list(d, &n);
    assert_int_equal(n, 4); /* files in the order they were given, then lines */
    assert_string_equal(list[0]->message, "first");
    assert_string_equal(list[1]->message, "second");
    assert_string_equal(list[2]->message, "third");
    assert_string_equal(list[3]->message, "fourth");
    assert_int_equal(kage_diags_count(d, KAGE_ERROR), 3);
    assert_int_equal(kage_diags_count(d, KAGE_WARNING), 1);
    kage_diags_free(d);
}

static void number_is_limited_but_counted(void **state)
{
    struct kage_diags *d = kage_diags_new();
    const char *file = kage_diags_file(d, "a", "x", 1);
    for (int i = 1; i <= 3000; i++)
        kage_finding_help(kage_diags_add(d, K201_UNKNOWN_KEY, at(file, i, 1, 1), "m"), "h");
    size_t n;
    kage_diags_list(d, &n);
    assert_int_equal(n, 1000);
    assert_int_equal(kage_diags_count(d, KAGE_ERROR), 3000);
    char *text = render(d, KAGE_FORMAT_HUMAN, false);
    assert_non_null(strstr(text, "2000 more findings"));
    free(text);
    kage_diags_free(d);
}

static void human_shows_the_line(void **state)
{
    struct kage_diags *d = kage_diags_new();
    const char *text = "a: 1\nstepz: 3\n";
    const char *file = kage_diags_file(d, "job.yaml", text, strlen(text));
    struct kage_finding *f =
        kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 2, 1, 5), "unknown key '%s' in job", "stepz");
    kage_finding_help(f, "did you mean 'commands'?");
    kage_finding_also(f, at(file, 1, 1, 1), "look here");
    char *out = render(d, KAGE_FORMAT_HUMAN, false);
    assert_string_equal(out, "job.yaml:2:1: error: unknown key 'stepz' in job [K201]\n"
                             "    2 | stepz: 3\n"
                             "      | ^~~~~ help: did you mean 'commands'?\n"
                             "job.yaml:1:1: note: look here\n"
                             "    1 | a: 1\n"
                             "      | ^\n");
    free(out);
    out = render(d, KAGE_FORMAT_HUMAN, true);
    assert_non_null(strstr(out, "\033[1;31merror:\033[0m"));
    free(out);
    kage_diags_free(d);
}

static void nothing_of_the_file_reaches_the_terminal(void **state)
{
    struct kage_diags *d = kage_diags_new();
    const char text[] = "a\t\x1b[31m\xff\xe2\x80\xae"
                        "z\n";
    const char *file = kage_diags_file(d, "x\x1b\n.yaml", text, sizeof(text) - 1);
    kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 1, 10, 1), "'%s'",
                   kage_diags_show(d, text, sizeof(text) - 1));
    static const enum kage_format formats[] = {KAGE_FORMAT_HUMAN, KAGE_FORMAT_GCC, KAGE_FORMAT_JSON,
                                               KAGE_FORMAT_GITHUB};
    for (size_t i = 0; i < 4; i++) {
        char *out = render(d, formats[i], false);
        for (const char *p = out; *p; p++)
            assert_true(*p == '\n' || (unsigned char)*p >= 0x20);
        assert_null(strstr(out, "\xe2\x80\xae"));
        free(out);
    }
    char *out = render(d, KAGE_FORMAT_HUMAN, false);
    assert_non_null(strstr(out, "a \\x1b[31m\\xff\\u{202e}z\n"));
    free(out);
    kage_diags_free(d);
}

static void caret_stands_under_wide_characters(void **state)
{
    struct kage_diags *d = kage_diags_new();
    const char *text = "日本: é\n";
    const char *file = kage_diags_file(d, "w", text, strlen(text));
    kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 1, 5, 1), "m");
    char *out = render(d, KAGE_FORMAT_HUMAN, false);
    assert_non_null(strstr(out, "\n      |       ^\n")); /* 2+2 cells, colon, blank */
    free(out);
    kage_diags_free(d);
}

static void long_lines_are_cut(void **state)
{
    struct kage_diags *d = kage_diags_new();
    struct kage_buf text = {0};
    for (int i = 0; i < 100000; i++)
        kage_buf_adds(&text, "0123456789");
    const char *file = kage_diags_file(d, "l", text.data, text.len);
    for (int i = 0; i < 500; i++)
        kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 1, 1 + i * 1999, 3), "m");
    char *out = render(d, KAGE_FORMAT_HUMAN, false);
    assert_true(strlen(out) < 500 * 400);
    free(out);
    kage_buf_done(&text);
    kage_diags_free(d);
}

static void json_parses(void **state)
{
    struct kage_diags *d = kage_diags_new();
    const char *file = kage_diags_file(d, "we\"ird\\\n\xff.yaml", "a: b\n", 5);
    struct kage_finding *f = kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 1, 1, 4), "a \"b\" \\ c");
    kage_finding_help(f, "h");
    kage_finding_also(f, at(file, 1, 4, 1), "there");
    kage_diags_add(d, K112_TOO_BIG, at(file, 0, 0, 0), "whole file");
    char *out = render(d, KAGE_FORMAT_JSON, false);
    cJSON *root = cJSON_Parse(out);
    assert_non_null(root);
    cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "findings");
    assert_int_equal(cJSON_GetArraySize(list), 2);
    cJSON *second = cJSON_GetArrayItem(list, 1);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(second, "code")->valuestring, "K201");
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(second, "message")->valuestring,
                        "a \"b\" \\ c");
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(second, "end_column")->valueint, 5);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(second, "file")->valuestring,
                        "we\"ird\\\n\xef\xbf\xbd.yaml");
    assert_null(cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(list, 0), "line"));
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(root, "errors")->valueint, 2);
    cJSON_Delete(root);
    free(out);
    kage_diags_free(d);
}

static void github_escapes_and_puts_errors_first(void **state)
{
    struct kage_diags *d = kage_diags_new();
    const char *file = kage_diags_file(d, "a,b:c%.yaml", "a\nb\n", 4);
    kage_diags_add(d, K303_UNUSED_SHARE, at(file, 1, 1, 1), "warned");
    kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 2, 1, 1), "100%%: x");
    char *out = render(d, KAGE_FORMAT_GITHUB, false);
    assert_string_equal(
        out, "::error file=a%2Cb%3Ac%25.yaml,line=2,col=1,endColumn=2,title=K201::100%25: x\n"
             "::warning file=a%2Cb%3Ac%25.yaml,line=1,col=1,endColumn=2,title=K303::warned\n");
    free(out);
    kage_diags_free(d);
}

static void words_are_measured(void **state)
{
    struct kage_diags *d = kage_diags_new();
    const char *text = "a: [\"x y\", bcd]\n";
    const char *file = kage_diags_file(d, "w", text, strlen(text));
    assert_int_equal(
        kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 1, 5, KAGE_SPAN_WORD), "m")->at.width, 5);
    assert_int_equal(
        kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 1, 12, KAGE_SPAN_WORD), "m")->at.width, 3);
    assert_int_equal(
        kage_diags_add(d, K201_UNKNOWN_KEY, at(file, 9, 1, KAGE_SPAN_WORD), "m")->at.width, 1);
    kage_diags_free(d);
}

static void unknown_files_are_no_trouble(void **state)
{
    struct kage_diags *d = kage_diags_new();
    kage_finding_help(kage_diags_add(d, K201_UNKNOWN_KEY, at(NULL, 0, 0, 0), "m"), "h");
    kage_diags_add(d, K201_UNKNOWN_KEY, at("never-added", 3, 1, 1), "n");
    char *out = render(d, KAGE_FORMAT_HUMAN, false);
    assert_non_null(strstr(out, "kage: error: m [K201]\n      = help: h\n"));
    free(out);
    free(render(d, KAGE_FORMAT_JSON, false));
    free(render(d, KAGE_FORMAT_GITHUB, false));
    kage_diags_freep(&d);
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registry_is_sound),
        cmocka_unit_test(findings_are_sorted_and_kept_once),
        cmocka_unit_test(number_is_limited_but_counted),
        cmocka_unit_test(human_shows_the_line),
        cmocka_unit_test(nothing_of_the_file_reaches_the_terminal),
        cmocka_unit_test(caret_stands_under_wide_characters),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(json_parses),
        cmocka_unit_test(github_escapes_and_puts_errors_first),
        cmocka_unit_test(words_are_measured),
        cmocka_unit_test(unknown_files_are_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
