#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "guest/options.h"

#define NEEDED "--listen 127.0.0.1:0 --token-file t --helper h"

/* The arguments as a shell would split them; they live as long as the program. */
static int parse(const char *text, struct kage_vmd_options *o)
{
    static char line[500], name[] = "vmd", *argv[20];
    struct kage_error err = KAGE_ERROR_INIT;
    char *save = NULL;
    int argc = 1, r;

    strcpy(line, text);
    argv[0] = name;
    for (char *a = strtok_r(line, " ", &save); a; a = strtok_r(NULL, " ", &save))
        argv[argc++] = a;
    argv[argc] = NULL;
    r = kage_vmd_options_parse(argc, argv, o, &err);
    assert_true(r == 0 || err.message);
    kage_error_done(&err);
    return r;
}

static void all_options(void **state)
{
    struct kage_vmd_options o;

    assert_int_equal(
        parse("--listen 127.0.0.1:0 --token-file t --helper=h --root r --cgroup c", &o), 0);
    assert_string_equal(o.address, "127.0.0.1");
    assert_int_equal(o.port, 0);
    assert_string_equal(o.token_file, "t");
    assert_string_equal(o.helper, "h");
    assert_string_equal(o.root, "r");
    assert_string_equal(o.cgroup, "c");
    kage_vmd_options_done(&o);
}

static void a_control_descriptor_is_open(void **state)
{
    struct kage_vmd_options o;

    assert_int_equal(parse(NEEDED, &o), 0);
    assert_int_equal(o.control_fd, -1);
    kage_vmd_options_done(&o);
    assert_int_equal(parse(NEEDED " --control 0", &o), 0);
    assert_int_equal(o.control_fd, 0);
    kage_vmd_options_done(&o);
    assert_int_equal(parse(NEEDED " --control 999", &o), -1);
    assert_int_equal(parse(NEEDED " --control -1", &o), -1);
    assert_int_equal(parse(NEEDED " --control 1x", &o), -1);
}

static void help_needs_nothing_else(void **state)
{
    struct kage_vmd_options o;

    assert_int_equal(parse("--help", &o), 0);
    assert_true(o.help);
    assert_int_equal(parse("--version", &o), 0);
    assert_true(o.version);
}

static void bad_addresses(void **state)
{
    static const char *const bad[] = {"127.0.0.1",       "127.0.0.1:",  "127.0.0.1:x",
                                      "127.0.0.1:65536", ":80",         "localhost:80",
                                      "127.0.0.1:-1",    "127.0.0.1:8x"};
    struct kage_vmd_options o;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        KAGE_CLEANUP(kage_freep)
        char *line = kage_asprintf("--token-file t --helper h --listen %s", bad[i]);

        assert_int_equal(parse(line, &o), -1);
    }
}

static void missing_and_unknown(void **state)
{
    struct kage_vmd_options o;

    assert_int_equal(parse("--listen 127.0.0.1:0", &o), -1);
    assert_int_equal(parse("--listen", &o), -1);
    assert_int_equal(parse("--nonsense", &o), -1);
    assert_int_equal(parse(NEEDED " extra", &o), -1);
    assert_int_equal(parse(NEEDED, &o), 0);
    kage_vmd_options_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_options),
        cmocka_unit_test(a_control_descriptor_is_open),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(missing_and_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
