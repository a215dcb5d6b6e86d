#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/apply/fit.h"
#include "runner/apply/images.h"
#include "runner/apply/lines.h"
#include "runner/apply/spool.h"
#include "runner/plan/plan.h"
#include "runner/report/result.h"

/* ---- images ---- */

static void test_images_that_are_shared(void **state)
{
    static char one[] = "one", again[] = "one", two[] = "two";
    struct kage_plan a = {.image = {.name = one}}, b = {.image = {.name = again}};
    char **const texts[] = {&b.image.name,   &b.image.path,   &b.image.url,   &b.image.digest,
                            &b.image.kernel, &b.image.initrd, &b.image.rootfs};

    assert_true(kage_images_same(&a, &b));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *before = *texts[i];

        *texts[i] = two;
        assert_false(kage_images_same(&a, &b));
        *texts[i] = before;
    }
    b.image.own_kernel = KAGE_OWN_KERNEL_LEAN;
    assert_false(kage_images_same(&a, &b));
    b.image.own_kernel = a.image.own_kernel;
    b.arch = a.arch + 1;
    assert_false(kage_images_same(&a, &b));
}

/* ---- the spool ---- */

/* A byte of the stream that position `at` of the test's output has. */
static char byte_at(size_t at)
{
    return (char)(at * 31 + at / 251);
}

/* What goes in comes out, in order, whatever the pieces and however much of it was in memory. */
static void spool_gives_back(size_t total, size_t piece, size_t take)
{
    struct kage_spool *spool = kage_spool_new();
    char *in = kage_alloc(piece), *out = kage_alloc(take);
    size_t at = 0, seen = 0;
    bool is_stderr;
    long n;

    for (size_t k = 0; at < total; k++) {
        size_t len = piece < total - at ? piece : total - at;

        for (size_t i = 0; i < len; i++)
            in[i] = byte_at(at + i);
        assert_int_equal(kage_spool_add(spool, k % 3 == 1, in, len), 0);
        at += len;
    }
    while ((n = kage_spool_take(spool, out, take, &is_stderr)) > 0) {
        for (long i = 0; i < n; i++) {
            assert_int_equal(out[i], byte_at(seen + (size_t)i));
            assert_int_equal((seen + (size_t)i) / piece % 3 == 1, is_stderr);
        }
        seen += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(seen, total);
    kage_spool_free(spool);
    free(in);
    free(out);
}

static void test_spool(void **state)
{
    spool_gives_back(0, 1, 1);
    spool_gives_back(10, 1, 3);
    spool_gives_back(5000, 7, 4096);
    spool_gives_back(1 << 20, 65536, 65536);
    spool_gives_back((5 << 20) + 17, 65536, 65536);
    spool_gives_back((3 << 20) + 1, 1000, 999);
}

static void test_spool_without_room(void **state)
{
    static char piece[600000];
    struct kage_spool *spool;
    bool is_stderr;
    size_t seen = 0;
    long n;

    setenv("TMPDIR", "/dev/null/none", 1);
    spool = kage_spool_new();
    assert_string_equal(kage_spool_folder(), "/dev/null/none");
    assert_int_equal(kage_spool_add(spool, false, piece, sizeof piece), 0);
    assert_int_not_equal(kage_spool_add(spool, false, piece, sizeof piece), 0);
    assert_int_not_equal(kage_spool_add(spool, false, "x", 1), 0);
    while ((n = kage_spool_take(spool, piece, sizeof piece, &is_stderr)) > 0)
        seen += (size_t)n;
    assert_int_equal(seen, 2 * sizeof piece);
    kage_spool_free(spool);
    unsetenv("TMPDIR");
}

/* ---- lines ---- */

static void lines_give(const char *text, size_t len, const char *want)
{
    for (size_t piece = 1; piece <= len + 1; piece++) {
        struct kage_lines lines = {.prefix = kage_strdup("job")};
        struct kage_buf out = {0};

        for (size_t at = 0; at < len; at += piece)
            kage_lines_add(&lines, false, text + at, piece < len - at ? piece : len - at, &out);
        kage_lines_end(&lines, false, &out);
        assert_int_equal(out.len, strlen(want));
        assert_string_equal(out.data ? out.data : "", want);
        kage_lines_done(&lines);
        kage_buf_done(&out);
    }
}

static void test_lines(void **state)
{
    lines_give("", 0, "");
    lines_give("a\nbc\n", 5, "job | a\njob | bc\n");
    lines_give("a\n\nb", 4, "job | a\njob | \njob | b\n");
    lines_give("\r50%\r100%\n", 10, "job | \r50%\r100%\n");
}

static void test_lines_of_two_streams_stay_apart(void **state)
{
    struct kage_lines lines = {.prefix = kage_strdup("j")};
    struct kage_buf out = {0};

    kage_lines_add(&lines, false, "half", 4, &out);
    kage_lines_add(&lines, true, "whole\n", 6, &out);
    assert_string_equal(out.data, "j | whole\n");
    kage_lines_add(&lines, false, "\0 \xff\n", 4, &out);
    assert_int_equal(out.len, 10 + 4 + 8);
    assert_memory_equal(out.data + 10, "j | half\0 \xff\n", 12);
    kage_lines_done(&lines);
    kage_buf_done(&out);
}

static void test_long_lines(void **state)
{
    const size_t len = KAGE_LINES_MAX;
    char *text = kage_alloc(2 * len + 1);
    struct kage_lines lines = {.prefix = kage_strdup("j")};
    struct kage_buf out = {0};

    memset(text, 'x', 2 * len);
    text[len] = '\n'; /* one that fits exactly stays one */
    kage_lines_add(&lines, false, text, len, &out);
    assert_int_equal(out.len, 0);
    kage_lines_add(&lines, false, text + len, 1, &out);
    assert_int_equal(out.len, 4 + len + 1);
    kage_buf_clear(&out);
    text[len] = 'x';
    kage_lines_add(&lines, false, text, 2 * len, &out);
    kage_lines_end(&lines, false, &out);
    assert_int_equal(out.len, 2 * (4 + len + 1));
    assert_int_equal(out.data[4 + len], '\n');
    kage_lines_done(&lines);
    kage_buf_done(&out);
    free(text);
}

/* ---- results on their way ---- */

static struct kage_plan_step steps[] = {{.kind = KAGE_STEP_SESSION},
                                        {.kind = KAGE_STEP_SPAWN, .name = (char[]){"one"}},
                                        {.kind = KAGE_STEP_SPAWN, .name = (char[]){"two"}}};
static struct kage_plan_artifact artifacts[] = {{.path = (char[]){"/a"}, .to = (char[]){"b"}}};
static struct kage_plan plan = {.name = (char[]){"p"},
                                .spec_file = (char[]){"p.yaml"},
                                .steps = steps,
                                .n_steps = 3,
                                .artifacts = artifacts,
                                .n_artifacts = 1};

static void test_result_there_and_back(void **state)
{
    struct kage_result sent = {0}, got = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_buf text = {0}, again = {0};

    kage_result_begin(&plan, &sent);
    sent.class = KAGE_CLASS_SIGNAL;
    sent.exit_code = 137;
    sent.message = kage_strdup("said \"no\"\n\ttwice");
    sent.loc = (struct kage_loc){plan.spec_file, 7, 3};
    sent.boot_ms = 12;
    sent.duration_ms = 3456;
    sent.jailed = true;
    sent.commands[0].status = KAGE_COMMAND_FAILED;
    sent.commands[0].exit_code = 137;
    sent.commands[0].signal = 9;
    sent.commands[0].out_of_memory = true;
    sent.commands[0].duration_ms = 99;
    sent.commands[0].message = kage_strdup("killed");
    sent.commands[0].attempts = kage_alloc(2 * sizeof *sent.commands[0].attempts);
    sent.commands[0].n_attempts = 2;
    sent.commands[0].attempts[0] =
        (struct kage_attempt){KAGE_COMMAND_TIMED_OUT, -1, 0, false, 5, NULL};
    sent.commands[0].attempts[1] =
        (struct kage_attempt){KAGE_COMMAND_FAILED, 137, 9, true, 94, kage_strdup("killed")};
    sent.artifacts[0].status = KAGE_ARTIFACT_MISSING;
    kage_result_send(&sent, &text);
    assert_int_equal(kage_result_receive(&text, &plan, &got, &err), 0);
    kage_result_send(&got, &again);
    assert_string_equal(text.data, again.data);
    assert_string_equal(got.message, sent.message);
    assert_ptr_equal(got.loc.file, plan.spec_file);
    assert_int_equal(got.commands[0].attempts[0].exit_code, -1);
    assert_int_equal(got.commands[1].exit_code, -1);
    assert_string_equal(got.artifacts[0].to, "b");
    kage_result_done(&sent);
    kage_result_done(&got);
    kage_buf_done(&text);
    kage_buf_done(&again);
}

static void refused(const char *what, const char *with)
{
    struct kage_result sent = {0}, got = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_buf text = {0}, changed = {0};
    char *at;

    kage_result_begin(&plan, &sent);
    kage_result_send(&sent, &text);
    at = strstr(text.data, what);
    assert_non_null(at);
    kage_buf_add(&changed, text.data, (size_t)(at - text.data));
    kage_buf_adds(&changed, with);
    kage_buf_adds(&changed, at + strlen(what));
    assert_int_equal(kage_result_receive(&changed, &plan, &got, &err), -1);
    assert_non_null(err.message);
    assert_null(got.commands);
    kage_error_done(&err);
    kage_result_done(&sent);
    kage_buf_done(&text);
    kage_buf_done(&changed);
}

static void test_a_damaged_result_is_none(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_buf empty = {0};
    struct kage_result got = {0};

    assert_int_equal(kage_result_receive(&empty, &plan, &got, &err), -1);
    kage_error_done(&err);
    refused("{\"version\"", "{\"wersion\"");
    refused("\"version\":1", "\"version\":2");
    refused("\"class\":0", "\"class\":8"); /* failed, with exit code 0 and nothing to say */
    refused("\"exit_code\":0", "\"exit_code\":3");
    refused("\"exit_code\":0,", "");
    refused("\"class\":0,", "");
    refused("\"class\":0", "\"class\":99");
    refused("\"exit_code\":0", "\"exit_code\":256");
    refused("{\"status\":0", "{\"status\":17");
    refused("{\"status\":0", "{\"state\":0");
    refused("\"attempts\":[]", "\"attempts\":[1]");
    refused("\"artifacts\":[{", "\"artifacts\":[{\"status\":0},{");
    refused("\"commands\":[{", "\"commands\":[7,{");
    refused("]}", "]");
}

/* ---- several jobs ---- */

static void test_what_decides(void **state)
{
    struct kage_result r[4] = {{0}, {.class = KAGE_CLASS_COMMAND, .exit_code = 3}, {0}, {0}};

    assert_ptr_equal(kage_results_verdict(r, 1), &r[0]);
    assert_ptr_equal(kage_results_verdict(r, 4), &r[1]);
    r[0] =
        (struct kage_result){.class = KAGE_CLASS_INTERRUPTED, .exit_code = 143, .cancelled = true};
    assert_ptr_equal(kage_results_verdict(r, 4), &r[1]);
    r[3] = (struct kage_result){.class = KAGE_CLASS_INTERRUPTED, .exit_code = 130};
    assert_ptr_equal(kage_results_verdict(r, 4), &r[3]);
}

static void labels(const char *const names[][2], size_t n, const char *const *want)
{
    struct kage_plans plans = {.items = kage_alloc(n * sizeof *plans.items), .n = n};

    for (size_t i = 0; i < n; i++) {
        plans.items[i] = kage_alloc(sizeof **plans.items);
        plans.items[i]->name = kage_strdup(names[i][0]);
        plans.items[i]->spec_file = kage_strdup(names[i][1]);
    }
    kage_plans_label(&plans);
    kage_plans_label(&plans); /* says the same when asked again */
    for (size_t i = 0; i < n; i++) {
        KAGE_CLEANUP(kage_freep) char *label = kage_plan_label(plans.items[i]);

        assert_string_equal(label, want[i]);
    }
    kage_plans_done(&plans);
}

static void test_labels(void **state)
{
    static const char *const names[][2] = {
        {"a", "1.yaml"}, {"b", "2.yaml"}, {"b", "x/2.yaml"}, {"c", "3.yaml"}, {"c", "3.yaml"}};
    static const char *const want[] = {"a", "b [2.yaml]", "b [x/2.yaml]", "c #1", "c #2"};
    static const char *const thrice[][2] = {{"a", "1"}, {"a", "2"}, {"a", "1"}};
    static const char *const want_thrice[] = {"a [1] #1", "a [2]", "a [1] #2"};

    labels(names, 5, want);
    labels(thrice, 3, want_thrice);
}

static void test_what_fits(void **state)
{
    struct kage_plan_arg two[] = {{.text = (char[]){"-smp"}}, {.text = (char[]){"2"}}};
    struct kage_plan small = {.memory = UINT64_C(512) << 20};
    struct kage_plan big = {.memory = UINT64_C(512) << 20, .args = two, .n_args = 2};
    struct kage_fit fit = {.cpus = 3, .memory = UINT64_C(1) << 30};

    assert_int_equal(kage_plan_cpus(&small), 1);
    assert_int_equal(kage_plan_cpus(&big), 2);
    kage_fit_add(&fit, &big);
    assert_false(kage_fit_has_room(&fit, &big));
    assert_false(kage_fit_has_room(&fit, &small)); /* memory: QEMU takes some, too */
    fit.memory <<= 1;
    assert_true(kage_fit_has_room(&fit, &small));
    kage_fit_add(&fit, &small);
    assert_false(kage_fit_has_room(&fit, &small));
    kage_fit_remove(&fit, &big);
    kage_fit_remove(&fit, &small);
    fit.memory = 1;
    assert_true(kage_fit_has_room(&fit, &big)); /* the first one always does */
    kage_fit_look(&fit);
    assert_true(fit.cpus >= 1 && fit.memory > 0 && fit.cpus_used == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images_that_are_shared),
        cmocka_unit_test(test_spool),
        cmocka_unit_test(test_spool_without_room),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_lines_of_two_streams_stay_apart),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_result_there_and_back),
        cmocka_unit_test(test_a_damaged_result_is_none),
        cmocka_unit_test(test_what_decides),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_what_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
