#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "plan_fixture.h"

static char *write_file(const char *text, size_t len)
{
    char *path = kage_strdup("/tmp/kage-test-plan-XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
    return path;
}

static void print(struct fixture *f, struct kage_buf *out)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan = NULL;

    assert_int_equal(kage_plan_make(&f->spec, &f->facts, &plan, &err), 0);
    kage_plan_print_json(plan, out);
    kage_plan_free(plan);
}

/* The file's only plan. */
static int read_plan(const char *path, struct kage_plan **ret, struct kage_error *err)
{
    struct kage_plans plans = {0};

    if (kage_plans_read(path, &plans, err) < 0)
        return -1;
    assert_int_equal(plans.n, 1);
    *ret = plans.items[0];
    plans.n = 0;
    kage_plans_done(&plans);
    return 0;
}

/* A plan that was written and read again prints the same bytes. */
static void round_trip(struct fixture *f)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_buf a = {0}, b = {0};
    struct kage_plan *plan = NULL;
    char *path;

    print(f, &a);
    path = write_file(a.data, a.len);
    if (read_plan(path, &plan, &err) < 0)
        fail_msg("%s", err.message);
    kage_plan_print_json(plan, &b);
    assert_string_equal(a.data, b.data);
    assert_string_equal(plan->shares[1].path, f->shares[1].path);
    kage_plan_free(plan);
    unlink(path);
    kage_freep(&path);
    kage_buf_done(&a);
    kage_buf_done(&b);
}

static void test_round_trip(void **state)
{
    struct kage_spec_forward forward = {
        .loc = fixture_at(8, 5), .address = TEXT("127.0.0.1"), .host_port = 8081, .guest_port = 80};
    struct fixture f;

    fixture_init(&f);
    round_trip(&f);
    f.spec.network.outbound = true;
    f.spec.network.forwards = &forward;
    f.spec.network.n_forwards = 1;
    f.spec.machine.disk = 1ull << 30;
    f.spec.machine.clock = TEXT("2024-02-29T12:00:00Z");
    f.commands[0].run = TEXT("printf '\\001\\\\u0000' # \xc3\xa9\t\x7f");
    f.facts.kvm = true;
    round_trip(&f);
    f.spec.machine.arch = KAGE_ARCH_AARCH64;
    f.spec.machine.cpus = 16;
    f.spec.image = (struct kage_spec_image){.form = KAGE_IMAGE_KERNEL,
                                            .loc = fixture_at(3, 8),
                                            .kernel = TEXT("/k"),
                                            .initrd = TEXT("/i"),
                                            .cmdline = TEXT("x=50%")};
    round_trip(&f);
}

/* Gives the fixture everything that most specs do without. */
static void add_language(struct fixture *f)
{
    static struct kage_spec_secret secrets[] = {
        {.name = TEXT("TOKEN"), .env = TEXT("CI_TOKEN")},
        {.name = TEXT("KEY"), .file = TEXT("/home/me/key")},
        {.name = TEXT("UNUSED"), .env = TEXT("X")},
    };
    static struct kage_spec_artifact artifacts[] = {
        {.path = TEXT("/out/*.xml"), .to = TEXT("results/"), .when = KAGE_WHEN_ALWAYS},
        {.path = TEXT("/out/log"), .to = TEXT("log"), .optional = true},
    };
    static struct kage_spec_choice matrix[] = {{TEXT("pg"), TEXT("15")},
                                               {TEXT("os"), TEXT("a, \"b\"")}};
    static char *names[] = {TEXT("TOKEN"), TEXT("KEY")}, *probe[] = {TEXT("probe"), TEXT("-x")};

    f->spec.secrets = secrets;
    f->spec.n_secrets = 3;
    f->spec.artifacts = artifacts;
    f->spec.n_artifacts = 2;
    f->spec.matrix = matrix;
    f->spec.n_matrix = 2;
    f->commands[0].secrets = f->commands[2].secrets = names;
    f->commands[0].n_secrets = 2;
    f->commands[2].n_secrets = 1;
    f->commands[0].background = f->commands[1].background = true;
    f->commands[0].timeout_ms = 0;
    f->commands[0].retries = 2;
    f->commands[0].ready = (struct kage_spec_ready){
        .kind = KAGE_READY_EXEC, .exec = probe, .n_exec = 2, .timeout_ms = 5000};
    f->commands[1].ready =
        (struct kage_spec_ready){.kind = KAGE_READY_TCP, .tcp = 5432, .timeout_ms = 1000};
    f->commands[2].pty = true;
}

/* A checkpoint, and what it depends on. */
static void add_checkpoint(struct fixture *f)
{
    static struct kage_spec_input inputs[2];

    add_language(f);
    inputs[1].path = f->shares[0].path;
    inputs[0].path = f->shares[1].path;
    f->commands[0].n_secrets = 0;
    f->commands[0].checkpoint = true;
    f->commands[0].inputs = inputs;
    f->commands[0].n_inputs = 2;
}

static void test_round_trip_of_the_language(void **state)
{
    struct fixture f;

    fixture_init(&f);
    add_checkpoint(&f);
    round_trip(&f);
    fixture_init(&f);
    add_language(&f);
    round_trip(&f);
    f.commands[1].ready = (struct kage_spec_ready){
        .kind = KAGE_READY_LOG, .log = TEXT("up \"now\""), .timeout_ms = 1};
    round_trip(&f);
    f.commands[1].ready =
        (struct kage_spec_ready){.kind = KAGE_READY_FILE, .file = TEXT("/run/s"), .timeout_ms = 1};
    round_trip(&f);
}

/* Two jobs are printed as a list and read back as one. */
static void test_several_jobs(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *items[2] = {NULL, NULL};
    struct kage_plans plans = {items, 2}, again = {0};
    struct kage_buf a = {0}, b = {0};
    struct fixture f;
    char *path;

    fixture_init(&f);
    assert_int_equal(kage_plan_make(&f.spec, &f.facts, &items[0], &err), 0);
    add_language(&f);
    assert_int_equal(kage_plan_make(&f.spec, &f.facts, &items[1], &err), 0);
    kage_plans_print_json(&plans, &a);
    path = write_file(a.data, a.len);
    if (kage_plans_read(path, &again, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(again.n, 2);
    kage_plans_print_json(&again, &b);
    assert_string_equal(a.data, b.data);
    kage_plans_done(&again);
    kage_plan_free(items[0]);
    kage_plan_free(items[1]);
    unlink(path);
    kage_freep(&path);
    kage_buf_done(&a);
    kage_buf_done(&b);
}

/* Reads the fixture's plan with the first `from` replaced by `to`. */
static void refuse_of(void (*prepare)(struct fixture *), const char *from, const char *to,
                      const char *words)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan = NULL;
    struct kage_buf text = {0}, changed = {0};
    struct fixture f;
    char *path;
    const char *at;

    fixture_init(&f);
    if (prepare)
        prepare(&f);
    print(&f, &text);
    at = strstr(text.data, from);
    if (!at)
        fail_msg("the plan does not hold '%s'", from);
    kage_buf_add(&changed, text.data, (size_t)(at - text.data));
    kage_buf_adds(&changed, to);
    kage_buf_adds(&changed, at + strlen(from));
    path = write_file(changed.data, changed.len);
    if (read_plan(path, &plan, &err) == 0)
        fail_msg("'%s' instead of '%s' was taken", to, from);
    assert_null(plan);
    if (!strstr(err.message, words))
        fail_msg("'%s' does not say '%s'", err.message, words);
    assert_non_null(strstr(err.message, path));
    kage_error_done(&err);
    unlink(path);
    kage_freep(&path);
    kage_buf_done(&text);
    kage_buf_done(&changed);
}

static void refuse(const char *from, const char *to, const char *words)
{
    refuse_of(NULL, from, to, words);
}

static void refuse_language(const char *from, const char *to, const char *words)
{
    refuse_of(add_language, from, to, words);
}

static void test_refuses_other_language(void **state)
{
    refuse_language("\"folder\": \"/home/me\"", "\"folder\": \"me\"", "must be absolute");
    refuse_language("  \"folder\": \"/home/me\",\n", "", "folder is missing");
    refuse_language("\"to\": \"results/\"", "\"to\": \"../results/\"", "artifacts[0].to");
    refuse_language("\"to\": \"results/\"", "\"to\": \"/etc\"", "artifacts[0].to");
    refuse_language("\"path\": \"/out/log\"", "\"path\": \"/out/../log\"", "artifacts[1].path");
    refuse_language("\"env\": \"CI_TOKEN\", ", "", "secrets[0].env");
    refuse_language("\"env\": \"CI_TOKEN\"", "\"env\": \"A\", \"file\": \"/b\"", "secrets[0].env");
    refuse_language("\"file\": \"/home/me/key\"", "\"file\": \"key\"", "must be absolute");
    refuse_language("\"secrets\": [\"TOKEN\", \"KEY\"]", "\"secrets\": [\"OTHER\"]", "secrets");
    refuse_language("\"TOKEN\":\"%{secret:TOKEN}\"", "\"TOKEN\":\"x\"", "no place");
    refuse_language("\"kind\": \"exec\"", "\"kind\": \"none\"", "kind is not a word");
    refuse_language("\"kind\": \"exec\"", "\"kind\": \"log\"", "text is missing");
    refuse_language("\"payload\": {\"id\":4,", "\"payload\": {\"id\":3,", "payload");
    refuse_language("{\"port\":5432}", "{\"port\":70000}", "payload is no payload");
    refuse_language("\"retries\": 2", "\"retries\": -1", "retries must be an integer");
    refuse_language("\"timeout_ms\": 600000", "\"timeout_ms\": \"x\"", "timeout_ms");
    refuse("\"timeout_ms\": 600000", "\"timeout_ms\": 0", "above 0");
    refuse_language("\"background\": true, ", "", "above 0");
    refuse_language("\"axis\": \"pg\"", "\"axes\": \"pg\"", "matrix[0]");
}

static void test_refuses_other_checkpoints(void **state)
{
    refuse_of(add_checkpoint, "\"checkpoint\": true", "\"checkpoint\": 1", "checkpoint");
    refuse_of(add_checkpoint, "\"inputs\": [", "\"inputs\": [7, ", "inputs[0]");
    refuse_of(add_checkpoint, "\"inputs\": [", "\"inputs\": [{\"path\": \"src\"}, ", "be absolute");
    refuse_of(add_checkpoint, "\"inputs\": [", "\"inputs\": [{\"path\": \"/etc/passwd\"}, ",
              "in one of the shares");
    /* a secret in front of it */
    refuse_language("\"secrets\": [\"TOKEN\", \"KEY\"]",
                    "\"secrets\": [\"TOKEN\", \"KEY\"], \"checkpoint\": true",
                    "comes after a command with secrets");
}

static void test_refuses_other_json(void **state)
{
    refuse("{\n", "", "not one JSON object");
    refuse("\"kage_plan\": 2", "\"kage_plan\": 1", "must be 2");
    refuse("\"kage_plan\": 2", "\"kage_plan\": 2, \"extra\": 1", "extra is not known");
    refuse("\"name\": \"job\"", "\"name\": \"job\", \"name\": \"x\"", "twice");
    refuse("\"name\": \"job\"", "\"name\": \"a\\u0000b\"", "NUL");
    refuse("\"name\": \"job\"", "\"Name\": \"job\"", "Name is not known");
    refuse("\"name\": \"job\"", "\"name\": 7", "name must be a string");
    refuse("\"memory\": 536870912", "\"memory\": 1.5", "memory must be an integer");
    refuse("\"memory\": 536870912", "\"memory\": -1", "memory must be an integer");
    refuse("\"accel\": \"tcg\"", "\"accel\": \"auto\"", "accel is not a word");
    refuse("\"arch\": \"x86_64\"", "\"arch\": \"host\"", "arch is not a word");
    refuse("/usr/bin/qemu-system-x86_64", "/bin/sh", "must be qemu-system-x86_64");
    refuse("\"line\": 30", "\"line\": \"30\"", "frames[0].line");
}

static void test_refuses_very_many_values(void **state)
{
    struct kage_buf many = {0};

    kage_buf_adds(&many, "\"name\": [");
    for (int i = 0; i < 2100000; i++)
        kage_buf_adds(&many, "0,");
    kage_buf_adds(&many, "0]");
    refuse("\"name\": \"job\"", many.data, "more than 2097152 values");
    kage_buf_done(&many);
}

static void add_network(struct fixture *f)
{
    f->spec.network.outbound = true;
}

static void test_refuses_other_options(void **state)
{
    refuse("\"-nodefaults\"", "\"-daemonize\"", "not a QEMU option");
    refuse("elevateprivileges=deny", "elevateprivileges=deny,x=y", "-sandbox");
    refuse("\"-nodefaults\"", "\"-no-reboot\"", "must hold -nodefaults");
    refuse("\"on,obsolete=deny,", "\"on,", "-sandbox");
    refuse("name=kage.control", "name=other", "must hold -device");
    refuse(",readonly=on", "", "read-only");
    refuse("path=/proc/self/fd/%{share:src}", "path=/etc", "-fsdev");
    refuse("path=/proc/self/fd/%{share:src}", "path=/proc/self/fd/%{share:src}/..", "-fsdev");
    refuse("path=/proc/self/fd/%{share:src}", "path=/proc/self/fd/%{share:none}", "lacks");
    refuse_of(add_network, "\"user,id=job,", "\"tap,id=job,", "-netdev");
    refuse_of(add_network, "\"user,id=job,", "\"user,id=job,tftp=/,", "-netdev");
    refuse("\"%{kernel}\"", "\"/etc/shadow\"", "-kernel");
    refuse("quiet panic=-1", "quiet %{token}", "-append");
    refuse("\"chardev:console\"", "\"file:/etc/passwd\"", "-serial");
}

static void test_refuses_other_frames(void **state)
{
    refuse("\"type\": \"mount\"", "\"type\": \"unmount\"", "frames[2].type must be");
    refuse("\"type\": \"session_create\"", "\"type\": \"mount\"", "frames[0]");
    refuse("{\"uid\":1000,", "{\"uid\":-1,", "frames[0].payload");
    refuse("{\"id\":1,", "{\"id\":2,", "frames[5].payload");
    refuse("\"expect\": [0]", "\"expect\": []", "at least one");
    refuse("\"expect\": [0]", "\"expect\": [256]", "0 to 255");
    refuse("\"when\": \"on-success\"", "\"when\": \"never\"", "frames[5].when");
    refuse("\"tag\": \"share0\"", "\"tag\": \"share7\"", "out of order");
    refuse("\"/home/me/src\"", "\"src\"", "must be absolute");
}

static void test_missing_file(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan = NULL;

    assert_int_equal(read_plan("/nonexistent/plan.json", &plan, &err), -1);
    assert_non_null(strstr(err.message, "No such file"));
    kage_error_done(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_round_trip_of_the_language),
        cmocka_unit_test(test_several_jobs),
        cmocka_unit_test(test_refuses_other_language),
        cmocka_unit_test(test_refuses_other_checkpoints),
        cmocka_unit_test(test_refuses_other_json),
        cmocka_unit_test(test_refuses_very_many_values),
        cmocka_unit_test(test_refuses_other_options),
        cmocka_unit_test(test_refuses_other_frames),
        cmocka_unit_test(test_missing_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
