#include "sandbox/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 32 };

/* Splits a line at blanks; "''" stands for the empty argument. */
static int parse(const char *line, struct kage_sandbox_options *o, const char **why)
{
    static char copy[8192];
    static char *argv[ARGS_MAX + 1];
    const char *arg;
    int argc = 1;
    assert_true(strlen(line) < sizeof copy);
    strcpy(copy, line);
    memset(argv, 0, sizeof argv);
    argv[0] = (char *)"sandbox-helper";
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < ARGS_MAX);
        argv[argc++] = strcmp(word, "''") == 0 ? word + 2 : word;
    }
    return kage_sandbox_options_parse(argc, argv, o, why, &arg);
}

static void test_defaults(void **state)
{
    struct kage_sandbox_options o;
    const char *why;
    assert_int_equal(parse("-- true", &o, &why), 0);
    assert_int_equal(o.profile, KAGE_SANDBOX_DEFAULT);
    assert_int_equal(o.net, KAGE_SANDBOX_NET_PRIVATE);
    assert_int_equal(o.uid, 0);
    assert_int_equal(o.gid, 0);
    assert_int_equal(o.group_count, 0);
    assert_string_equal(o.cwd, "/");
    assert_int_equal(o.status_fd, -1);
    assert_int_equal(o.cgroup_fd, -1);
    assert_false(o.tty);
    assert_string_equal(o.argv[0], "true");
    assert_null(o.argv[1]);
}

static void test_everything(void **state)
{
    struct kage_sandbox_options o;
    const char *why;
    assert_int_equal(
        parse("--profile strict --uid 1000 --gid 4294967294 --groups 4,0,27 --cwd /tmp "
              "--net-fd 7 --hostname box --cgroup-fd 8 --status-fd 9 --tty -- a -- --uid",
              &o, &why),
        0);
    assert_int_equal(o.profile, KAGE_SANDBOX_STRICT);
    assert_int_equal(o.uid, 1000);
    assert_true(o.gid == 4294967294u);
    assert_int_equal(o.group_count, 3);
    assert_int_equal(o.groups[2], 27);
    assert_int_equal(o.net, KAGE_SANDBOX_NET_FD);
    assert_int_equal(o.net_fd, 7);
    assert_int_equal(o.cgroup_fd, 8);
    assert_int_equal(o.status_fd, 9);
    assert_true(o.tty);
    assert_string_equal(o.argv[1], "--");
    assert_string_equal(o.argv[2], "--uid");
}

static void test_profile_names(void **state)
{
    static const struct {
        const char *line;
        enum kage_sandbox_profile profile;
    } cases[] = {
        {"--profile default -- x", KAGE_SANDBOX_DEFAULT},
        {"--profile nodejs -- x", KAGE_SANDBOX_DEFAULT},
        {"--profile python -- x", KAGE_SANDBOX_DEFAULT},
        {"--profile minimal -- x", KAGE_SANDBOX_STRICT},
        {"--profile none -- x", KAGE_SANDBOX_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kage_sandbox_options o;
        const char *why;
        assert_int_equal(parse(cases[i].line, &o, &why), 0);
        assert_int_equal(o.profile, cases[i].profile);
    }
}

static void test_numbers_are_strict(void **state)
{
    static const char *const bad[] = {"4294967295",
                                      "4294967296",
                                      "18446744073709551616",
                                      "-1",
                                      "+1",
                                      "1.5",
                                      "0x0",
                                      "0x10",
                                      "1e3",
                                      "010",
                                      "00",
                                      "''",
                                      "1,",
                                      ",",
                                      "a",
                                      "1a",
                                      "\t1",
                                      "1\n",
                                      "99999999999999999999",
                                      "-0"};
    char line[128];
    struct kage_sandbox_options o;
    const char *why;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(line, sizeof line, "--uid %s --gid 1 -- x", bad[i]);
        assert_int_equal(parse(line, &o, &why), -1);
        assert_non_null(why);
        snprintf(line, sizeof line, "--uid 1 --gid %s -- x", bad[i]);
        assert_int_equal(parse(line, &o, &why), -1);
        snprintf(line, sizeof line, "--groups 5,%s -- x", bad[i]);
        assert_int_equal(parse(line, &o, &why), -1);
        snprintf(line, sizeof line, "--net-fd %s -- x", bad[i]);
        if (strcmp(bad[i], "4294967295") != 0)
            assert_int_equal(parse(line, &o, &why), -1);
    }
    assert_int_equal(parse("--status-fd 2 -- x", &o, &why), -1); /* would report into stderr */
    assert_int_equal(parse("--status-fd 2147483648 -- x", &o, &why), -1);
    assert_int_equal(parse("--uid 0 --gid 0 -- x", &o, &why), 0);
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "--",
        "true",
        "-- ",
        "--uid 1000 -- x",
        "--gid 1000 -- x",
        "--uid 1 --uid 1 --gid 1 -- x",
        "--private-net --net-fd 5 -- x",
        "--private-net --host-net -- x",
        "--profile lax -- x",
        "--profile Default -- x",
        "--profile '' -- x",
        "--cwd tmp -- x",
        "--cwd '' -- x",
        "--hostname '' -- x",
        "--hostname aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -- x",
        "--uid",
        "--Tty -- x",
        "-x -- x",
        "--groups '' -- x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kage_sandbox_options o;
        const char *why = NULL;
        if (parse(bad[i], &o, &why) != -1)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
    }
}

static void test_group_limit(void **state)
{
    char line[2048] = "--groups 1";
    struct kage_sandbox_options o;
    const char *why;
    for (int i = 1; i < KAGE_SANDBOX_GROUPS_MAX; i++)
        strcat(line, ",1");
    size_t full = strlen(line);
    strcat(line, " -- x");
    assert_int_equal(parse(line, &o, &why), 0);
    assert_int_equal(o.group_count, KAGE_SANDBOX_GROUPS_MAX);
    strcpy(line + full, ",1 -- x");
    assert_int_equal(parse(line, &o, &why), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_everything),
        cmocka_unit_test(test_profile_names), cmocka_unit_test(test_numbers_are_strict),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_group_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
