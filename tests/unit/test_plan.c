#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "plan_fixture.h"

static struct kage_plan *make(struct fixture *f)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan = NULL;

    if (kage_plan_make(&f->spec, &f->facts, &plan, &err) < 0)
        fail_msg("plan: %s", err.message);
    return plan;
}

/* Plans what must not plan: the class, and words of the message. */
static void refuse(struct fixture *f, enum kage_class class, const char *words, int line)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan = NULL;

    assert_int_equal(kage_plan_make(&f->spec, &f->facts, &plan, &err), -1);
    assert_null(plan);
    assert_int_equal(err.class, class);
    if (!strstr(err.message, words))
        fail_msg("'%s' does not say '%s'", err.message, words);
    assert_int_equal(err.loc.line, line);
    if (line)
        assert_ptr_equal(err.loc.file, f->spec.file);
    kage_error_done(&err);
}

/* The value after the nth occurrence (from 0) of a flag; NULL when there is none. */
static const char *value_of(const struct kage_plan *plan, const char *flag, int nth)
{
    for (size_t i = 0; i + 1 < plan->n_args; i++)
        if (strcmp(plan->args[i].text, flag) == 0 && nth-- == 0)
            return plan->args[i + 1].text;
    return NULL;
}

static bool has_arg(const struct kage_plan *plan, const char *text)
{
    for (size_t i = 0; i < plan->n_args; i++)
        if (strcmp(plan->args[i].text, text) == 0)
            return true;
    return false;
}

static void test_frames_follow_the_spec(void **state)
{
    static const char *const payloads[] = {
        "{\"uid\":1000,\"username\":\"tester\",\"gid\":1000}",
        "{\"uid\":1001,\"username\":\"builder\",\"gid\":100,\"groups\":[4,27],\"home\":\"/build\"}",
        "{\"tag\":\"share1\",\"mount_point\":\"/out\"}",
        "{\"tag\":\"share0\",\"mount_point\":\"/src\",\"read_only\":true}",
        "{\"mount_point\":\"/scratch\",\"fs\":\"tmpfs\",\"size\":1048576}",
        "{\"id\":1,\"command\":\"/bin/sh\",\"args\":[\"-e\",\"-c\",\"echo \\\"hi\\\"\\nexit "
        "0\\n\"],"
        "\"cwd\":\"/src\",\"seccomp_profile\":\"default\",\"env\":{\"LC_ALL\":\"C.UTF-8\",\"TZ\":"
        "\"UTC=0\"},\"user\":\"tester\",\"no_stdin\":true,\"max_processes\":512}",
        "{\"id\":2,\"command\":\"./tool\",\"args\":[\"--bogus\",\"a b\"],"
        "\"cwd\":\"/src\",\"seccomp_profile\":\"default\",\"env\":{\"LC_ALL\":\"C.UTF-8\",\"TZ\":"
        "\"UTC=0\"},\"user\":\"tester\",\"no_stdin\":true,\"max_processes\":512}",
        "{\"id\":3,\"command\":\"bash\",\"args\":[\"--noprofile\",\"--norc\",\"-eo\",\"pipefail\","
        "\"-c\",\"true\"],"
        "\"cwd\":\"/src\",\"seccomp_profile\":\"strict\",\"env\":{\"LC_ALL\":\"C.UTF-8\",\"TZ\":"
        "\"UTC=0\"},\"user\":\"root\",\"no_stdin\":true,\"max_processes\":512}",
    };
    static const int lines[] = {30, 31, 20, 21, 22, 40, 41, 42};
    struct fixture f;
    struct kage_plan *plan;

    fixture_init(&f);
    plan = make(&f);
    assert_int_equal(plan->n_steps, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_string_equal(plan->steps[i].payload, payloads[i]);
        assert_int_equal(plan->steps[i].loc.line, lines[i]);
        assert_ptr_equal(plan->steps[i].loc.file, plan->spec_file);
    }
    assert_int_equal(plan->steps[1].kind, KAGE_STEP_SESSION);
    assert_int_equal(plan->steps[2].kind, KAGE_STEP_MOUNT);
    assert_int_equal(plan->steps[6].kind, KAGE_STEP_SPAWN);
    assert_int_equal(plan->steps[6].id, 2);
    assert_int_equal(plan->steps[6].n_expect, 2);
    assert_int_equal(plan->steps[6].expect[1], 3);
    assert_true(plan->steps[6].continue_on_error);
    assert_int_equal(plan->steps[7].when, KAGE_WHEN_ALWAYS);
    kage_plan_free(plan);
}

static void test_command_line(void **state)
{
    struct fixture f;
    struct kage_plan *plan;

    fixture_init(&f);
    plan = make(&f);
    assert_string_equal(plan->qemu, "/usr/bin/qemu-system-x86_64");
    assert_int_equal(plan->accel, KAGE_ACCEL_TCG);
    assert_string_equal(plan->accel_note, "not kvm: /dev/kvm is absent");
    assert_string_equal(value_of(plan, "-accel", 0), "tcg");
    assert_string_equal(value_of(plan, "-cpu", 0), "max,la57=off,erms=off");
    assert_string_equal(value_of(plan, "-m", 0), "512M");
    assert_string_equal(value_of(plan, "-kernel", 0), "%{kernel}");
    assert_non_null(value_of(plan, "-device", 0));
    assert_string_equal(value_of(plan, "-device", 1),
                        "virtserialport,chardev=control,name=kage.control");
    assert_true(has_arg(plan, "socket,id=control,fd=%{control}"));
    assert_string_equal(value_of(plan, "-fsdev", 0),
                        "local,id=share0,path=/proc/self/fd/%{share:src},security_model=none,"
                        "multidevs=remap,readonly=on");
    assert_string_equal(value_of(plan, "-fsdev", 1),
                        "local,id=share1,path=/proc/self/fd/%{share:out},security_model=none,"
                        "multidevs=remap");
    assert_string_equal(value_of(plan, "-sandbox", 0),
                        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    /* Network off: no card at all, and no way in that a token would open. */
    assert_null(value_of(plan, "-netdev", 0));
    assert_null(value_of(plan, "-fw_cfg", 0));
    assert_null(value_of(plan, "-blockdev", 0));
    assert_non_null(strstr(value_of(plan, "-append", 0), ",init_tsc_clocksource"));
    kage_plan_free(plan);
}

/* A machine that stays: others reach it with its token, over a card from which nothing gets out. */
static void test_way_in(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plan *plan;
    struct fixture f;

    fixture_init(&f);
    plan = make(&f);
    assert_int_equal(kage_plan_open_way_in(plan, &f.facts, &err), 0);
    assert_string_equal(value_of(plan, "-m", 0), "512M");
    assert_string_equal(value_of(plan, "-fw_cfg", 0),
                        "name=opt/kage/token,file=/proc/self/fd/%{token}");
    assert_non_null(strstr(value_of(plan, "-netdev", 0), "restrict=on"));
    assert_non_null(strstr(value_of(plan, "-netdev", 0), "hostfwd=tcp:127.0.0.1:0-"));
    assert_null(value_of(plan, "-netdev", 1));
    assert_string_equal(plan->args[plan->n_args - 2].text, "-device");
    assert_non_null(strstr(plan->args[plan->n_args - 1].text, "mac=52:54:00:4b:41:01"));
    kage_plan_free(plan);
}

static void test_accelerators(void **state)
{
    struct fixture f;
    struct kage_plan *plan;

    fixture_init(&f);
    f.facts.kvm = true;
    plan = make(&f);
    assert_int_equal(plan->accel, KAGE_ACCEL_KVM);
    assert_null(plan->accel_note);
    assert_string_equal(value_of(plan, "-cpu", 0), "host");
    assert_null(strstr(value_of(plan, "-append", 0), "tsc"));
    assert_true(plan->boot_timeout_ms <= 60000);
    kage_plan_free(plan);

    f.spec.machine.arch = KAGE_ARCH_AARCH64;
    plan = make(&f);
    assert_int_equal(plan->accel, KAGE_ACCEL_TCG);
    assert_string_equal(plan->qemu, "/usr/bin/qemu-system-aarch64");
    assert_string_equal(value_of(plan, "-machine", 0), "virt");
    assert_non_null(strstr(value_of(plan, "-append", 0), "console=ttyAMA0"));
    assert_string_equal(plan->accel_note, "not kvm: the guest is aarch64 and the host x86_64");
    kage_plan_free(plan);

    f.spec.machine.accel = KAGE_ACCEL_KVM;
    refuse(&f, KAGE_CLASS_HOST, "the guest is aarch64", 5);
    f.spec.machine.arch = KAGE_ARCH_HOST;
    f.facts.kvm = false;
    refuse(&f, KAGE_CLASS_HOST, "/dev/kvm is absent", 5);
    f.facts.kvm_why = NULL;
    refuse(&f, KAGE_CLASS_HOST, "not been shown", 5);
    f.spec.machine.accel = KAGE_ACCEL_HVF;
    refuse(&f, KAGE_CLASS_HOST, "HVF is part of macOS", 5);
    f.spec.machine.accel = KAGE_ACCEL_TCG;
    f.facts.kvm = true;
    plan = make(&f);
    assert_int_equal(plan->accel, KAGE_ACCEL_TCG);
    assert_null(plan->accel_note);
    kage_plan_free(plan);
}

static void test_macos(void **state)
{
    struct fixture f;
    struct kage_plan *plan;

    fixture_init(&f);
    f.facts.os = TEXT("macos");
    f.facts.arch = KAGE_ARCH_AARCH64;
    f.facts.hvf = true;
    f.facts.qemu = TEXT("qemu-system-aarch64");
    plan = make(&f);
    assert_int_equal(plan->accel, KAGE_ACCEL_HVF);
    assert_false(has_arg(plan, "-sandbox"));
    assert_non_null(strstr(value_of(plan, "-fsdev", 0), "path=/dev/fd/%{share:src},"));
    kage_plan_free(plan);
    f.spec.machine.accel = KAGE_ACCEL_KVM;
    refuse(&f, KAGE_CLASS_HOST, "KVM is part of Linux", 5);
}

static void test_network(void **state)
{
    struct kage_spec_forward forwards[] = {
        {.loc = fixture_at(8, 5),
         .address = TEXT("127.0.0.1"),
         .host_port = 8081,
         .guest_port = 80},
        {.loc = fixture_at(9, 5),
         .address = TEXT("0.0.0.0"),
         .host_port = 5353,
         .guest_port = 53,
         .udp = true},
    };
    struct fixture f;
    struct kage_plan *plan;

    fixture_init(&f);
    f.spec.network.outbound = true;
    f.commands[1].network = true;
    plan = make(&f);
    assert_null(strstr(value_of(plan, "-netdev", 0), "restrict"));
    assert_null(strstr(value_of(plan, "-netdev", 0), "hostfwd"));
    assert_null(strstr(plan->steps[5].payload, "\"network\""));
    assert_non_null(strstr(plan->steps[6].payload, "\"network\":true"));
    kage_plan_free(plan);

    f.spec.network.outbound = false;
    plan = make(&f);
    assert_null(value_of(plan, "-netdev", 0));
    assert_null(strstr(plan->steps[6].payload, "\"network\""));
    kage_plan_free(plan);

    f.spec.network.forwards = forwards;
    f.spec.network.n_forwards = 2;
    plan = make(&f);
    assert_non_null(strstr(value_of(plan, "-netdev", 0), "restrict=on"));
    assert_non_null(strstr(value_of(plan, "-netdev", 0), "hostfwd=tcp:127.0.0.1:8081-10.0.3.15:80,"
                                                         "hostfwd=udp:0.0.0.0:5353-10.0.3.15:53"));
    kage_plan_free(plan);

    forwards[1].address = TEXT("::1");
    refuse(&f, KAGE_CLASS_SPEC, "IPv4", 9);
    forwards[1].address = TEXT("127.0.0.1,guestfwd=x");
    refuse(&f, KAGE_CLASS_SPEC, "IPv4", 9);
}

static void test_disk_and_clock(void **state)
{
    struct fixture f;
    struct kage_plan *plan;

    fixture_init(&f);
    f.mounts[2].type = KAGE_MOUNT_DISK;
    refuse(&f, KAGE_CLASS_SPEC, "needs a disk", 22);
    f.spec.machine.disk = 4ull << 30;
    f.spec.machine.clock = TEXT("2024-02-29T23:30:00.25-01:30");
    f.spec.machine.memory = 130ull << 10;
    plan = make(&f);
    assert_string_equal(value_of(plan, "-rtc", 0), "base=2024-03-01T01:00:00");
    assert_string_equal(value_of(plan, "-m", 0), "130K");
    assert_non_null(strstr(value_of(plan, "-blockdev", 0), "filename=/proc/self/fd/%{scratch},"));
    assert_string_equal(plan->steps[4].payload,
                        "{\"tag\":\"scratch\",\"mount_point\":\"/scratch\",\"fs\":\"disk\"}");
    kage_plan_free(plan);
    f.spec.machine.clock = TEXT("yesterday");
    refuse(&f, KAGE_CLASS_SPEC, "the clock", 6);
    f.spec.machine.clock = TEXT("2024-02-29T23:30:00+1");
    refuse(&f, KAGE_CLASS_SPEC, "the clock", 6);
}

static void test_user_text_stays_text(void **state)
{
    struct fixture f;
    struct kage_plan *plan;

    fixture_init(&f);
    f.spec.image = (struct kage_spec_image){.form = KAGE_IMAGE_KERNEL,
                                            .loc = fixture_at(3, 8),
                                            .kernel = TEXT("/k,id=x"),
                                            .cmdline = TEXT("a=100%,b %{kernel}")};
    f.spec.name = TEXT("n,debug-threads=on");
    plan = make(&f);
    assert_string_equal(value_of(plan, "-initrd", 0), "%{initrd}");
    assert_string_equal(value_of(plan, "-name", 0), "guest=kage-n,,debug-threads=on");
    assert_non_null(strstr(value_of(plan, "-append", 0), "a=100%%,b %%{kernel}"));
    kage_plan_free(plan);

    f.spec.image.cmdline = TEXT("a\nb");
    refuse(&f, KAGE_CLASS_SPEC, "control characters", 3);
    f.spec.image.cmdline = NULL;
    f.shares[1].name = TEXT("a}b");
    f.mounts[0].source = TEXT("a}b");
    refuse(&f, KAGE_CLASS_SPEC, "not a name", 11);
}

static void test_refusals(void **state)
{
    static char script[140000];
    struct fixture f;

    fixture_init(&f);
    f.mounts[1].source = TEXT("nothing");
    refuse(&f, KAGE_CLASS_SPEC, "names no share", 21);
    fixture_init(&f);
    memset(script, 'x', sizeof(script) - 1);
    f.commands[0].run = script;
    refuse(&f, KAGE_CLASS_SPEC, "131071", 40);
    fixture_init(&f);
    f.facts.qemu_version[0] = 4;
    refuse(&f, KAGE_CLASS_HOST, "6.0 or newer", 0);
}

static bool mentions(const struct kage_plan *plan, const char *part)
{
    for (size_t i = 0; i < plan->n_args; i++)
        if (strstr(plan->args[i].text, part))
            return true;
    return false;
}

/* Every form of image but two brings a disk with it, which QEMU gets read-only. */
static void test_rootfs(void **state)
{
    const struct {
        struct kage_spec_image image;
        bool disk;
    } cases[] = {
        {{.form = KAGE_IMAGE_STORE, .name = TEXT("tiny")}, false},
        {{.form = KAGE_IMAGE_KERNEL, .kernel = TEXT("/k")}, false},
        {{.form = KAGE_IMAGE_STORE, .name = TEXT("debian-12")}, true},
        {{.form = KAGE_IMAGE_PATH, .path = TEXT("/x.img")}, true},
        {{.form = KAGE_IMAGE_URL, .url = TEXT("https://x")}, true},
        {{.form = KAGE_IMAGE_KERNEL, .kernel = TEXT("/k"), .rootfs = TEXT("/r")}, true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kage_plan *plan;
        struct fixture f;

        fixture_init(&f);
        f.spec.image = cases[i].image;
        plan = make(&f);
        assert_int_equal(mentions(plan, " kage.root=rootfs"), cases[i].disk);
        assert_int_equal(mentions(plan, "filename=/proc/self/fd/%{rootfs},read-only=on"),
                         cases[i].disk);
        assert_int_equal(mentions(plan, "driver=%{rootfs-format},"), cases[i].disk);
        kage_plan_free(plan);
    }
}

static void test_same_bytes_twice(void **state)
{
    struct kage_buf a = {0}, b = {0};
    struct fixture f;
    struct kage_plan *plan;

    fixture_init(&f);
    plan = make(&f);
    kage_plan_print_json(plan, &a);
    kage_plan_free(plan);
    plan = make(&f);
    kage_plan_print_json(plan, &b);
    assert_string_equal(a.data, b.data);
    kage_buf_clear(&a);
    kage_plan_print_human(plan, &a);
    assert_non_null(strstr(a.data, "# job.yaml:41"));
    assert_non_null(strstr(a.data, "0x07 session_create"));
    kage_plan_free(plan);
    kage_buf_done(&a);
    kage_buf_done(&b);
}

static const char *lookup(const char *name, void *user)
{
    (*(int *)user)++;
    return strcmp(name, "share:src") == 0 ? "17" : strcmp(name, "kernel") == 0 ? "/a%b" : NULL;
}

static void test_expand(void **state)
{
    struct kage_error err = KAGE_ERROR_INIT;
    int calls = 0;
    char *s = kage_plan_expand("%%{kernel} %{kernel},x=/fd/%{share:src}%%", lookup, &calls, &err);

    assert_string_equal(s, "%{kernel} /a%b,x=/fd/17%");
    assert_int_equal(calls, 2);
    kage_freep(&s);
    s = kage_plan_expand("", lookup, &calls, &err);
    assert_string_equal(s, "");
    kage_freep(&s);
    for (const char *const *bad =
             (const char *const[]){"%", "%x", "%{", "%{nothing}", "a%{kernel", "%{share:}",
                                   "%{share:../x}", "%{qmp}", NULL};
         *bad; bad++) {
        assert_null(kage_plan_expand(*bad, lookup, &calls, &err));
        assert_non_null(err.message);
        kage_error_done(&err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_follow_the_spec),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_way_in),
        cmocka_unit_test(test_accelerators),
        cmocka_unit_test(test_macos),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_disk_and_clock),
        cmocka_unit_test(test_user_text_stays_text),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_rootfs),
        cmocka_unit_test(test_same_bytes_twice),
        cmocka_unit_test(test_expand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
