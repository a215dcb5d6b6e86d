#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/report/mask.h"

/* Sends the text through a stream in pieces of every size. */
static void shows(const struct kage_mask *mask, const char *text, const char *want)
{
    size_t len = strlen(text);

    for (size_t piece = 1; piece <= len + 1; piece++) {
        struct kage_mask_stream stream = {0};
        struct kage_buf out = {0};

        for (size_t at = 0; at < len; at += piece)
            kage_mask_write(mask, &stream, text + at, piece < len - at ? piece : len - at, false,
                            &out);
        kage_mask_write(mask, &stream, "", 0, true, &out);
        if (strcmp(out.data ? out.data : "", want) != 0)
            fail_msg("in pieces of %zu: '%s', not '%s'", piece, out.data, want);
        kage_mask_stream_done(&stream);
        kage_buf_done(&out);
    }
}

static void test_every_occurrence_in_any_pieces(void **state)
{
    struct kage_mask *mask = kage_mask_new();

    shows(mask, "nothing to hide", "nothing to hide");
    kage_mask_add(mask, "s3cret");
    shows(mask, "s3cret", "***");
    shows(mask, "a s3cret, s3crets3cret; s3cre", "a ***, ******; s3cre");
    shows(mask, "ss3cret s3cres3cret", "s*** s3cre***");
    shows(mask, "", "");
    kage_mask_free(mask);
}

static void test_the_longest_one_wins(void **state)
{
    struct kage_mask *mask = kage_mask_new();

    kage_mask_add(mask, "abc");
    kage_mask_add(mask, "abcdef");
    kage_mask_add(mask, "x");
    shows(mask, "abc abcd abcdef abcde", "*** ***d *** ***de");
    shows(mask, "xx", "******");
    kage_mask_free(mask);
}

static void test_lines_of_a_secret(void **state)
{
    struct kage_mask *mask = kage_mask_new();

    kage_mask_add(mask, "-----BEGIN-----\nMIIEvQIBADAN\n{\n-----END-----\n");
    shows(mask, "-----BEGIN-----\r\n  MIIEvQIBADAN\r\n{\r\n", "***\r\n  ***\r\n{\r\n");
    shows(mask, "-----BEGIN-----\nMIIEvQIBADAN\n{\n-----END-----\n.", "***.");
    kage_mask_free(mask);
}

static void test_bytes_pass_at_once(void **state)
{
    struct kage_mask *mask = kage_mask_new();
    struct kage_mask_stream stream = {0};
    struct kage_buf out = {0};
    char all[256];

    kage_mask_add(mask, "secret");
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    kage_mask_write(mask, &stream, all, sizeof all, false, &out);
    assert_int_equal(out.len, sizeof all);
    assert_memory_equal(out.data, all, sizeof all);
    kage_buf_clear(&out);
    /* a prompt is shown; only what may be a secret waits */
    kage_mask_write(mask, &stream, "password: ", 10, false, &out);
    assert_string_equal(out.data, "password: ");
    kage_mask_write(mask, &stream, "se", 2, false, &out);
    assert_string_equal(out.data, "password: ");
    kage_mask_write(mask, &stream, "t", 1, false, &out);
    assert_string_equal(out.data, "password: set");
    kage_mask_stream_done(&stream);
    kage_buf_done(&out);
    kage_mask_free(mask);
}

static void test_whole_texts(void **state)
{
    struct kage_mask *mask = kage_mask_new();
    char *text = kage_mask_text(NULL, kage_strdup("secret"));

    assert_string_equal(text, "secret");
    kage_mask_add(mask, "secret");
    text = kage_mask_text(mask, text);
    assert_string_equal(text, "***");
    free(text);
    assert_null(kage_mask_text(mask, NULL));
    kage_mask_free(mask);
    kage_mask_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_occurrence_in_any_pieces),
        cmocka_unit_test(test_the_longest_one_wins),
        cmocka_unit_test(test_lines_of_a_secret),
        cmocka_unit_test(test_bytes_pass_at_once),
        cmocka_unit_test(test_whole_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
