#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/proto/message.h"

static int decode(enum kage_msg_type type, const char *json, struct kage_msg *msg)
{
    char *why = NULL;
    int r = kage_msg_decode(msg, type, (const uint8_t *)json, strlen(json), &why);

    if (r)
        assert_non_null(why);
    free(why);
    return r;
}

static void spawn_goes_round(void **state)
{
    const char *json =
        "{\"id\":7,\"command\":\"/bin/echo\",\"args\":[\"a\\\"b\",\"\\u0001\"],"
        "\"cwd\":\"/\",\"uid\":1000,\"network\":true,\"env\":{\"A\":\"x=y\",\"B\":\"\"},"
        "\"groups\":[1,2]}";
    struct kage_msg msg;
    struct kage_buf out = {0};

    assert_int_equal(decode(KAGE_MSG_SPAWN, json, &msg), 0);
    assert_int_equal(msg.id, 7);
    assert_string_equal(msg.spawn.env.items[0], "A=x=y");
    assert_int_equal(msg.spawn.gid, KAGE_UNSET);
    assert_int_equal(msg.spawn.groups.items[1], 2);
    kage_msg_encode(&msg, &out);
    assert_string_equal(out.data, json);
    kage_buf_done(&out);
    kage_msg_done(&msg);
}

static void bytes_are_text_or_base64(void **state)
{
    struct kage_msg msg, back;
    struct kage_buf out = {0};

    kage_msg_init(&msg, KAGE_MSG_STDOUT);
    msg.id = 1;
    msg.output.data = kage_memdup("\xff\0x", 3);
    msg.output.data_len = 3;
    kage_msg_encode(&msg, &out);
    assert_string_equal(out.data, "{\"id\":1,\"data\":\"/wB4\",\"encoding\":\"base64\"}");
    assert_int_equal(decode(KAGE_MSG_STDOUT, out.data, &back), 0);
    assert_int_equal(back.output.data_len, 3);
    assert_memory_equal(back.output.data, "\xff\0x", 3);
    kage_buf_done(&out);
    kage_msg_done(&msg);
    kage_msg_done(&back);
}

static void what_is_wrong_is_refused(void **state)
{
    static const struct {
        enum kage_msg_type type;
        const char *json;
        int code;
    } cases[] = {
        {KAGE_MSG_SPAWN, "", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "[]", KAGE_RPC_PARSE},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\"} x", KAGE_RPC_PARSE},
        {KAGE_MSG_SPAWN, "{\"command\":1}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"Command\":\"a\"}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"command\":\"b\"}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\\u0000b\"}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\xff\"}", KAGE_RPC_PARSE},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"uid\":4294967295}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"uid\":-1}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"uid\":1.5}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"uid\":\"0\"}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"uid\":1e999}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"args\":[1]}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"env\":{\"\":\"x\"}}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"env\":{\"A=B\":\"x\"}}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_SPAWN, "{\"command\":\"a\",\"env\":{\"A\":\"x\",\"A\":\"y\"}}",
         KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_KILL, "{\"handle\":\"p1\",\"signal\":65}", KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_STDIN, "{\"handle\":\"p1\",\"data\":\"%\",\"encoding\":\"base64\"}",
         KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_STDIN, "{\"handle\":\"p1\",\"data\":\"\",\"encoding\":\"hex\"}",
         KAGE_RPC_INVALID_PARAMS},
        {KAGE_MSG_STDIN_RAW, "{}", KAGE_RPC_INVALID_REQUEST},
    };
    struct kage_msg msg;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (decode(cases[i].type, cases[i].json, &msg) != cases[i].code)
            fail_msg("%s was not answered with %d", cases[i].json, cases[i].code);
}

static void an_escaped_backslash_before_u0000_is_text(void **state)
{
    struct kage_msg msg;

    assert_int_equal(decode(KAGE_MSG_FS_READ, "{\"path\":\"\\\\u0000\"}", &msg), 0);
    assert_string_equal(msg.fs_read.path, "\\u0000");
    kage_msg_done(&msg);
}

static void unknown_fields_are_ignored_and_null_is_absent(void **state)
{
    struct kage_msg msg;

    assert_int_equal(decode(KAGE_MSG_KILL, "{\"x\":{\"y\":[]},\"handle\":null}", &msg), 0);
    assert_null(msg.kill.handle);
    assert_int_equal(msg.kill.signal, KAGE_UNSET);
    kage_msg_done(&msg);
}

static void frames_are_taken_apart(void **state)
{
    uint8_t f[16] = {0};
    const uint8_t *payload;
    const char *why;
    size_t len;
    int type;

    kage_frame_header(f, KAGE_MSG_PING, 2);
    memcpy(f + 5, "{}", 2);
    assert_int_equal(kage_frame_parse(f, 7, &type, &payload, &len, &why), 0);
    assert_int_equal(type, KAGE_MSG_PING);
    assert_int_equal(len, 2);
    assert_int_equal(kage_frame_parse(f, 6, &type, &payload, &len, &why), KAGE_RPC_INVALID_REQUEST);
    assert_int_equal(kage_frame_parse(f, 8, &type, &payload, &len, &why), KAGE_RPC_INVALID_REQUEST);
    assert_int_equal(kage_frame_parse(f, 0, &type, &payload, &len, &why), KAGE_RPC_INVALID_REQUEST);
    assert_int_equal(type, -1);
    kage_frame_header(f, KAGE_MSG_PING, UINT32_MAX);
    assert_int_equal(kage_frame_parse(f, 5, &type, &payload, &len, &why), KAGE_RPC_INVALID_REQUEST);
    f[0] = 0x7F;
    memset(f + 1, 0, 4);
    assert_int_equal(kage_frame_parse(f, 5, &type, &payload, &len, &why), KAGE_RPC_UNKNOWN_TYPE);
}

/* One decode of {"command":"a", key:[unit unit … unit]}. */
static int decode_many(const char *key, const char *unit, size_t n, char **why)
{
    struct kage_buf b = {0};
    struct kage_msg msg;
    int r;

    kage_buf_addf(&b, "{\"id\":4,\"command\":\"a\",\"%s\":[", key);
    for (size_t i = 0; i < n; i++)
        kage_buf_addf(&b, "%s%s", i ? "," : "", unit);
    kage_buf_adds(&b, "]}");
    r = kage_msg_decode(&msg, KAGE_MSG_SPAWN, (const uint8_t *)b.data, b.len, why);
    if (!r)
        kage_msg_done(&msg);
    kage_buf_done(&b);
    return r;
}

/* The tree of a frame full of small values would be 50 times as large as the frame. */
static void a_payload_of_very_many_values_is_refused(void **state)
{
    static const struct {
        const char *key, *unit;
        size_t n;
        bool fits;
    } cases[] = {
        {"args", "\"\"", 233016, true}, /* as many as the kernel takes: 2 MiB at nine bytes each */
        {"args", "\"\"", KAGE_MSG_VALUES_MAX - 4, true},
        {"args", "\"\"", KAGE_MSG_VALUES_MAX - 3, false},
        {"x", "[]", KAGE_MSG_VALUES_MAX / 2, false}, /* in a field that nobody knows */
        {"x", "{}", 500000, false},
        {"x", "1", 500000, false},
        {"x", "\"\"", 500000, false},
        {"args", "\"[{,,,,,,,,,,,,,,,\\\",,,,\"", 100000, true}, /* one value each */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *why = NULL;
        int r = decode_many(cases[i].key, cases[i].unit, cases[i].n, &why);

        if ((r == 0) != cases[i].fits)
            fail_msg("%zu times %s gave %d: %s", cases[i].n, cases[i].unit, r, why ? why : "");
        if (r) {
            assert_int_equal(r, KAGE_RPC_INVALID_PARAMS);
            assert_string_equal(why, "the payload holds more than 262144 values");
        }
        free(why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spawn_goes_round),
        cmocka_unit_test(bytes_are_text_or_base64),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(an_escaped_backslash_before_u0000_is_text),
        cmocka_unit_test(unknown_fields_are_ignored_and_null_is_absent),
        cmocka_unit_test(frames_are_taken_apart),
        cmocka_unit_test(a_payload_of_very_many_values_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
