#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guest/options.h"

#define ARGS(...)                                                                                  \
    (char *[])                                                                                     \
    {                                                                                              \
        "vmd", __VA_ARGS__, NULL                                                                   \
    }

static int parse(const char **argv, struct kage_vmd_options *o)
{
    struct kage_error err = KAGE_ERROR_INIT;
    int argc = 0, r;

    while (argv[argc])
        argc++;
    r = kage_vmd_options_parse(argc, (char **)argv, o, &err);
    assert_true(r == 0 || err.message);
    kage_error_done(&err);
    return r;
}

static void all_options(void **state)
{
    struct kage_vmd_options o;

    assert_int_equal(parse(ARGS("--listen", "127.0.0.1:0", "--token-file", "t", "--helper=h",
                                "--root", "r", "--cgroup", "c"),
                           &o),
                     0);
    assert_string_equal(o.address, "127.0.0.1");
    assert_int_equal(o.port, 0);
    assert_string_equal(o.token_file, "t");
    assert_string_equal(o.helper, "h");
    assert_string_equal(o.root, "r");
    assert_string_equal(o.cgroup, "c");
    kage_vmd_options_done(&o);
}

static void help_needs_nothing_else(void **state)
{
    struct kage_vmd_options o;

    assert_int_equal(parse(ARGS("--help"), &o), 0);
    assert_true(o.help);
    assert_int_equal(parse(ARGS("--version"), &o), 0);
    assert_true(o.version);
}

static void bad_addresses(void **state)
{
    static const char *const bad[] = {"127.0.0.1",       "127.0.0.1:",  "127.0.0.1:x",
                                      "127.0.0.1:65536", ":80",         "localhost:80",
                                      "127.0.0.1:-1",    "127.0.0.1:8 "};
    struct kage_vmd_options o;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(ARGS("--listen", bad[i], "--token-file", "t", "--helper", "h"), &o),
                         -1);
}

static void missing_and_unknown(void **state)
{
    struct kage_vmd_options o;

    assert_int_equal(parse(ARGS("--listen", "127.0.0.1:0"), &o), -1);
    assert_int_equal(parse(ARGS("--listen"), &o), -1);
    assert_int_equal(parse(ARGS("--nonsense"), &o), -1);
    assert_int_equal(
        parse(ARGS("--listen", "127.0.0.1:0", "--token-file", "t", "--helper", "h", "extra"), &o),
        -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_options),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(missing_and_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
