#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/host/capacity.h"
#include "runner/host/child.h"
#include "runner/host/facts.h"
#include "runner/host/qemu_parts.h"

static char root[] = "/tmp/kage-test-capacity-XXXXXX";

static void shell(const char *script)
{
    const char *argv[] = {"/bin/sh", "-ec", script, root, NULL};
    struct kage_child child;

    assert_int_equal(kage_child_run(argv, -1, 10000, NULL, &child, NULL), 0);
    assert_int_equal(child.status, 0);
    kage_child_done(&child);
}

static int set_up(void **state)
{
    return mkdtemp(root) ? setenv("XDG_CACHE_HOME", root, 1) : -1;
}

static int tear_down(void **state)
{
    shell("rm -rf \"$0\"");
    return 0;
}

/* A machine of 8 GiB, half of it in use, and no cgroup. */
static int fresh(void **state)
{
    shell("rm -rf \"$0\"/*; mkdir -p \"$0/proc/self\" \"$0/proc/sys/vm\" \"$0/sys/fs/cgroup\"\n"
          "printf 'MemTotal: 8388608 kB\\nMemFree: 100 kB\\nMemAvailable: 4194304 kB\\n"
          "SwapTotal: 1048576 kB\\nCommitLimit: 5242880 kB\\nCommitted_AS: 1048576 kB\\n' "
          ">\"$0/proc/meminfo\"\n"
          "echo 0 >\"$0/proc/sys/vm/overcommit_memory\"\n"
          "echo 0::/user/job >\"$0/proc/self/cgroup\"\n");
    return 0;
}

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static void expect(uint64_t memory, uint64_t memory_free)
{
    struct kage_host_capacity c;

    kage_host_read_capacity(root, &c);
    assert_int_equal(c.memory, memory);
    assert_int_equal(c.memory_free, memory_free);
}

static unsigned cpus(void)
{
    struct kage_host_capacity c;

    kage_host_read_capacity(root, &c);
    return c.cpus;
}

static void test_plain(void **state)
{
    expect(9 * GIB, 4 * GIB);
    shell("echo 1 >\"$0/proc/sys/vm/overcommit_memory\"");
    expect(0, 4 * GIB); /* nothing is refused */
    shell("echo 2 >\"$0/proc/sys/vm/overcommit_memory\"");
    expect(4 * GIB, 4 * GIB);
    shell("rm -r \"$0/proc\"");
    expect(0, 0);
}

static void test_unlimited(void **state)
{
    shell("cd \"$0/sys/fs/cgroup\"; mkdir -p user/job; echo max >user/job/memory.max\n"
          "echo 'max 100000' >user/job/cpu.max");
    expect(9 * GIB, 4 * GIB);
    assert_true(cpus() > 0);
    /* As version 1 writes it. */
    shell("cd \"$0/sys/fs/cgroup\"; mkdir memory; echo 4:memory:/ >\"$0/proc/self/cgroup\"\n"
          "echo 9223372036854771712 >memory/memory.limit_in_bytes");
    expect(9 * GIB, 4 * GIB);
}

/* The smallest of all levels counts; pages of files can be had back. */
static void test_version_2(void **state)
{
    shell("cd \"$0/sys/fs/cgroup\"; mkdir -p user/job\n"
          "echo 2147483648 >user/memory.max; echo 629145600 >user/memory.current\n"
          "printf 'anon 1\\ninactive_file 104857600\\n' >user/memory.stat\n"
          "echo 3221225472 >user/job/memory.max; echo 0 >user/job/memory.current\n"
          "echo '150000 100000' >user/cpu.max; echo max 100000 >user/job/cpu.max");
    expect(9 * GIB, 2 * GIB - 500 * MIB);
    assert_int_equal(cpus(), 1);
}

static void test_version_1(void **state)
{
    shell("cd \"$0/sys/fs/cgroup\"; mkdir -p memory/a/b cpu/a\n"
          "printf '5:cpuacct,cpu:/a\\n4:memory:/a/b\\n0::/\\n' >\"$0/proc/self/cgroup\"\n"
          "echo 1073741824 >memory/a/memory.limit_in_bytes\n"
          "echo 1073741824 >memory/a/memory.usage_in_bytes\n"
          "echo 'total_inactive_file 1048576' >memory/a/memory.stat\n"
          "echo 50000 >cpu/a/cpu.cfs_quota_us; echo 100000 >cpu/a/cpu.cfs_period_us");
    expect(9 * GIB, MIB);
    assert_int_equal(cpus(), 1);
}

/* In a container the path may be one of the host, with only the own part mounted. */
static void test_container(void **state)
{
    shell("cd \"$0/sys/fs/cgroup\"; echo 0::/docker/abc >\"$0/proc/self/cgroup\"\n"
          "echo 268435456 >memory.max; echo 999999999 >memory.current");
    expect(9 * GIB, 1); /* full */
}

/* A QEMU that says what `-device help` and its like are told to say. */
static void fake_qemu(const char *devices, const char *sandbox)
{
    KAGE_CLEANUP(kage_freep)
    char *script = kage_asprintf(
        "cat >\"$0/qemu\" <<'END'\n#!/bin/sh\necho \"$*\" >>\"$0.asked\"\n"
        "case $* in\n"
        "*-sandbox*) %s; echo 'name \"x\", bus PCI' ;;\n"
        "*-device*) printf '%s' ;;\n"
        "*-machine*) printf 'Supported machines are:\\nq35  Standard PC (alias)\\nnone x\\n' ;;\n"
        "*-accel*) printf 'Accelerators supported in QEMU binary:\\ntcg\\n' ;;\n"
        "*-netdev*) printf 'Available netdev backend types:\\nsocket\\nuser\\n' ;;\n"
        "esac\nEND\nchmod +x \"$0/qemu\"; rm -f \"$0/qemu.asked\"",
        sandbox, devices);

    shell(script);
}

static void expect_lacks(const char *lacks)
{
    KAGE_CLEANUP(kage_freep) char *program = kage_asprintf("%s/qemu", root);
    struct kage_host_facts facts = {.os = kage_strdup("linux"), .qemu = KAGE_TAKE(program)};

    kage_host_ask_qemu_parts(&facts);
    if (lacks)
        assert_string_equal(facts.qemu_lacks, lacks);
    else
        assert_null(facts.qemu_lacks);
    kage_host_facts_done(&facts);
}

static void test_parts(void **state)
{
    fake_qemu("PCI devices:\\nname \"virtio-serial-pci\"\\nname \"virtserialport\"\\n"
              "name \"virtio-net-pci\", bus PCI, alias \"virtio-net\"\\n"
              "name \"virtio-9p-pci-transitional\"\\nname \"virtio-blk-pci\"\\n",
              "true");
    expect_lacks("-device virtio-9p-pci\n-machine virt\n-accel kvm\n-accel hvf\n");
    /* The answer is kept for as long as the program is the same. */
    shell("rm \"$0/qemu.asked\"");
    expect_lacks("-device virtio-9p-pci\n-machine virt\n-accel kvm\n-accel hvf\n");
    shell("! test -e \"$0/qemu.asked\"");
    fake_qemu("name \"virtio-serial-pci\"\\nname \"virtserialport\"\\nname \"virtio-net-pci\"\\n"
              "name \"virtio-9p-pci\"\\nname \"virtio-blk-pci\"\\n",
              "exit 1");
    expect_lacks("-machine virt\n-accel kvm\n-accel hvf\n"
                 "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
                 "resourcecontrol=deny\n");
}

static void test_no_answer(void **state)
{
    shell("printf '#!/bin/sh\\nexit 1\\n' >\"$0/qemu\"; chmod +x \"$0/qemu\"");
    expect_lacks(NULL);
    shell("rm \"$0/qemu\"");
    expect_lacks(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_plain, fresh),
        cmocka_unit_test_setup(test_unlimited, fresh),
        cmocka_unit_test_setup(test_version_2, fresh),
        cmocka_unit_test_setup(test_version_1, fresh),
        cmocka_unit_test_setup(test_container, fresh),
        cmocka_unit_test_setup(test_parts, fresh),
        cmocka_unit_test_setup(test_no_answer, fresh),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
