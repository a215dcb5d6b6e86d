#pragma once

#include <string.h>

#include "runner/host/facts.h"
#include "runner/plan/plan.h"
#include "runner/spec/spec.h"

/* A spec built by hand: two users, a read-only and a writable share, three commands. Static
 * storage, to be changed by each test before it plans. */
struct fixture {
    struct kage_spec spec;
    struct kage_spec_share shares[2];
    struct kage_spec_mount mounts[3];
    struct kage_spec_user users[2];
    struct kage_spec_command commands[3];
    struct kage_spec_env env[2];
    struct kage_host_facts facts;
};

#define TEXT(s) ((char *)(s))

static inline struct kage_loc fixture_at(int line, int col)
{
    return (struct kage_loc){"job.yaml", line, col};
}

static inline void fixture_commands(struct fixture *f)
{
    static int zero[] = {0}, two_or_three[] = {2, 3};
    static char *argv[] = {TEXT("./tool"), TEXT("--bogus"), TEXT("a b")};

    for (int i = 0; i < 3; i++)
        f->commands[i] = (struct kage_spec_command){
            .loc = fixture_at(40 + i, 5),
            .what_loc = fixture_at(40 + i, 7),
            .name = TEXT("first"),
            .user = TEXT("tester"),
            .cwd = TEXT("/src"),
            .shell = TEXT("sh"),
            .env = {f->env, 2},
            .timeout_ms = 600000,
            .expect = zero,
            .n_expect = 1,
        };
    f->commands[0].run = TEXT("echo \"hi\"\nexit 0\n");
    f->commands[1].name = TEXT("second");
    f->commands[1].argv = argv;
    f->commands[1].n_argv = 3;
    f->commands[1].expect = two_or_three;
    f->commands[1].n_expect = 2;
    f->commands[1].continue_on_error = true;
    f->commands[2].name = TEXT("third");
    f->commands[2].run = TEXT("true");
    f->commands[2].shell = TEXT("bash");
    f->commands[2].user = TEXT("root");
    f->commands[2].when = KAGE_WHEN_ALWAYS;
    f->commands[2].sandbox = KAGE_SANDBOX_STRICT;
}

static inline void fixture_init(struct fixture *f)
{
    static uint32_t groups[] = {4, 27};

    memset(f, 0, sizeof(*f));
    f->shares[0] = (struct kage_spec_share){
        .loc = fixture_at(10, 3), .name = TEXT("src"), .path = TEXT("/home/me/src")};
    f->shares[1] = (struct kage_spec_share){.loc = fixture_at(11, 3),
                                            .name = TEXT("out"),
                                            .path = TEXT("/home/me/a,b %{c}"),
                                            .writable = true};
    f->mounts[0] = (struct kage_spec_mount){
        .loc = fixture_at(20, 5), .source = TEXT("out"), .target = TEXT("/out"), .writable = true};
    f->mounts[1] = (struct kage_spec_mount){
        .loc = fixture_at(21, 5), .source = TEXT("src"), .target = TEXT("/src")};
    f->mounts[2] = (struct kage_spec_mount){.loc = fixture_at(22, 5),
                                            .type = KAGE_MOUNT_TMPFS,
                                            .target = TEXT("/scratch"),
                                            .size = 1024 * 1024};
    f->users[0] = (struct kage_spec_user){
        .loc = fixture_at(30, 3), .name = TEXT("tester"), .uid = 1000, .gid = 1000};
    f->users[1] = (struct kage_spec_user){.loc = fixture_at(31, 3),
                                          .name = TEXT("builder"),
                                          .uid = 1001,
                                          .gid = 100,
                                          .groups = groups,
                                          .n_groups = 2,
                                          .home = TEXT("/build")};
    f->env[0] = (struct kage_spec_env){.name = TEXT("LC_ALL"), .value = TEXT("C.UTF-8")};
    f->env[1] = (struct kage_spec_env){.name = TEXT("TZ"), .value = TEXT("UTC=0")};
    fixture_commands(f);
    f->spec = (struct kage_spec){
        .file = TEXT("job.yaml"),
        .folder = TEXT("/home/me"),
        .loc = fixture_at(1, 1),
        .name = TEXT("job"),
        .name_loc = fixture_at(2, 7),
        .image = {.form = KAGE_IMAGE_STORE, .loc = fixture_at(3, 8), .name = TEXT("tiny")},
        .machine = {.loc = fixture_at(1, 1),
                    .arch_loc = fixture_at(4, 18),
                    .cpus = 1,
                    .cpus_loc = fixture_at(1, 1),
                    .memory = 512ull << 20,
                    .memory_loc = fixture_at(4, 30),
                    .accel_loc = fixture_at(5, 10),
                    .clock_loc = fixture_at(6, 10)},
        .network = {.loc = fixture_at(7, 10)},
        .shares = f->shares,
        .n_shares = 2,
        .mounts = f->mounts,
        .n_mounts = 3,
        .users = f->users,
        .n_users = 2,
        .commands = f->commands,
        .n_commands = 3,
        .timeout_ms = 3600000,
        .limits = {.output = 64ull << 20, .processes = 512},
    };
    f->facts = (struct kage_host_facts){.os = TEXT("linux"),
                                        .arch = KAGE_ARCH_X86_64,
                                        .qemu = TEXT("/usr/bin/qemu-system-x86_64"),
                                        .qemu_version = {7, 2, 0},
                                        .kvm_why = TEXT("/dev/kvm is absent")};
}
