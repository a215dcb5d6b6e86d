#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/base/text.h"

static void utf8_accepts_and_refuses(void **state)
{
    assert_true(kage_utf8_valid("", 0));
    assert_true(kage_utf8_valid("a\0b", 3));
    assert_true(kage_utf8_valid("\xf4\x8f\xbf\xbf", 4));
    assert_false(kage_utf8_valid("\xf4\x90\x80\x80", 4)); /* past U+10FFFF */
    assert_false(kage_utf8_valid("\xed\xa0\x80", 3));     /* surrogate */
    assert_false(kage_utf8_valid("\xc0\x80", 2));         /* overlong */
    assert_false(kage_utf8_valid("\xe2\x82", 2));         /* cut */
    assert_int_equal(kage_utf8_valid_prefix("ab\xff", 3), 2);
}

static void utf8_tail_is_what_the_next_read_completes(void **state)
{
    assert_int_equal(kage_utf8_incomplete_tail("a\xe2\x82", 3), 2);
    assert_int_equal(kage_utf8_incomplete_tail("a\xf0\x9f\x98", 4), 3);
    assert_int_equal(kage_utf8_incomplete_tail("\xe2\x82\xac", 3), 0);
    assert_int_equal(kage_utf8_incomplete_tail("\xff", 1), 0);
    assert_int_equal(kage_utf8_incomplete_tail("\x80\x80\x80\x80", 4), 0);
    assert_int_equal(kage_utf8_incomplete_tail("", 0), 0);
}

static void base64_goes_round(void **state)
{
    unsigned char all[256], *back;
    size_t n;

    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    for (size_t len = 0; len <= sizeof all; len++) {
        char *text = kage_base64_encode(all, len);

        assert_int_equal(kage_base64_decode(text, strlen(text), &back, &n), 0);
        assert_int_equal(n, len);
        assert_memory_equal(back, all, len);
        free(back);
        free(text);
    }
    assert_int_equal(kage_base64_decode("QQ=", 3, &back, &n), -1);
    assert_int_equal(kage_base64_decode("QR==", 4, &back, &n), -1); /* not canonical */
    assert_int_equal(kage_base64_decode("Q=Q=", 4, &back, &n), -1);
    assert_int_equal(kage_base64_decode("====", 4, &back, &n), -1);
    assert_int_equal(kage_base64_decode("QUI\n", 4, &back, &n), -1);
}

static void json_values_are_counted(void **state)
{
    static const struct {
        const char *text;
        size_t n;
    } cases[] = {{"1", 1},
                 {"", 1},
                 {"[1,2]", 3},
                 {"{\"a\":[],\"b\":{\"c\":1}}", 5},
                 {"\"[{,\"", 1},
                 {"[\"\\\",[\", 1]", 3},
                 {"[\"\\\\\",[]]", 4},
                 {"\"", 1},
                 {"\"\\", 1}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(kage_json_values(cases[i].text, strlen(cases[i].text)), cases[i].n);
}

static void printable_disarms_terminals(void **state)
{
    char *s = kage_printable("a\x1b[31m\xc2\x9b\xff\xe2\x82\xac", 12);

    assert_string_equal(s, "a\\x1b[31m\\xc2\\x9b\\xff\xe2\x82\xac");
    free(s);
}

static void durations_read_well(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{0, "0s"}, {90000, "1m30s"}, {150, "150ms"}, {3600000, "1h"}, {1500, "1s500ms"}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *s = kage_duration_text(cases[i].ms);

        assert_string_equal(s, cases[i].text);
        free(s);
    }
}

static void errors_keep_their_class_when_wrapped(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;

    assert_int_equal(kage_error_set(&err, KAGE_CLASS_IMAGE, "no %s", "kernel"), -1);
    kage_error_wrap(&err, "while starting '%s'", "job");
    assert_string_equal(err.message, "while starting 'job': no kernel");
    assert_int_equal(err.class, KAGE_CLASS_IMAGE);
    assert_string_equal(kage_class_name(KAGE_CLASS_AGENT_LOST), "agent-lost");
    kage_error_done(&err);
    assert_null(err.message);
}

static void buffers_grow_and_shrink(void **state)
{
    struct kage_buf b = {0};

    for (int i = 0; i < 1000; i++)
        kage_buf_addf(&b, "%03d", i);
    assert_int_equal(b.len, 3000);
    kage_buf_consume(&b, 2997);
    assert_string_equal(b.data, "999");
    kage_buf_consume(&b, 10);
    assert_int_equal(b.len, 0);
    kage_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_accepts_and_refuses),
        cmocka_unit_test(utf8_tail_is_what_the_next_read_completes),
        cmocka_unit_test(base64_goes_round),
        cmocka_unit_test(json_values_are_counted),
        cmocka_unit_test(printable_disarms_terminals),
        cmocka_unit_test(durations_read_well),
        cmocka_unit_test(errors_keep_their_class_when_wrapped),
        cmocka_unit_test(buffers_grow_and_shrink),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
