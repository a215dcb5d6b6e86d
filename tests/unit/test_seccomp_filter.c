/* The filters, run by a small BPF interpreter over every call number: against the
 * table, and against what libseccomp makes of the same table. */
#include "sandbox/compile.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct filter {
    struct sock_filter code[4096];
    int len;
};

/* The instructions that our filters and libseccomp's consist of. */
static uint32_t run_filter(const struct filter *f, const struct seccomp_data *data)
{
    uint32_t acc = 0;
    for (int pc = 0; pc < f->len; pc++) {
        const struct sock_filter *i = &f->code[pc];
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(i->k + sizeof acc <= sizeof *data);
            memcpy(&acc, (const char *)data + i->k, sizeof acc);
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            acc &= i->k;
            break;
        case BPF_JMP | BPF_JA:
            pc += (int)i->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            pc += acc == i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            pc += acc >= i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            pc += acc > i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            pc += acc & i->k ? i->jt : i->jf;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            fail_msg("instruction %d has code %#x", pc, i->code);
        }
    }
    fail_msg("the filter runs off its end");
    return 0;
}

static void compile(const struct kage_filter_arch *arch, enum kage_policy_profile profile,
                    struct kage_filter_map *map, struct filter *f)
{
    const char *why = "";
    if (kage_filter_map(arch, profile, map, &why) < 0 ||
        (f->len = kage_filter_compile(arch, map, f->code, &why)) < 0)
        fail_msg("%s: %s", arch->name, why);
}

/* What the rule says about an argument. Written apart from the compiler's view. */
static uint32_t expected(enum kage_rule rule, uint64_t arg0, uint64_t arg1)
{
    const struct kage_condition *c = kage_policy_condition(rule);
    int errnum = kage_rule_errno(rule);
    if (c) {
        uint32_t arg = (uint32_t)(c->arg == 0 ? arg0 : arg1);
        int hits = 0;
        for (int i = 0; i < c->value_count; i++)
            hits +=
                c->kind == KAGE_CONDITION_NO_BITS ? (arg & c->values[i]) != 0 : arg == c->values[i];
        if ((hits > 0) == (c->kind == KAGE_CONDITION_ONE_OF))
            errnum = 0;
    }
    return errnum ? SECCOMP_RET_ERRNO | (uint32_t)errnum : SECCOMP_RET_ALLOW;
}

/* Interesting values of the first two arguments, for the conditions. */
static const uint64_t samples[] = {
    0,
    1,
    2,
    3,
    8,
    10,
    16,
    17,
    38,
    40,
    0x80,
    0x5412,
    0x5413,
    0x541c,
    0x20000,
    0x20008,
    0x40000,
    0x400000,
    0x11,
    0x3d0f00,
    0x10000000,
    0x02000000,
    0x7e020000,
    0xffffffff,
    ~0ULL,
    1ULL << 32,
    1ULL << 32 | 1,
    1ULL << 32 | 0x5412,
    1ULL << 63 | 0x10000000,
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

static void each_verdict(void (*check)(const struct seccomp_data *, void *), uint32_t audit_arch,
                         void *arg)
{
    for (int nr = 0; nr < KAGE_SYSCALL_MAX + 16; nr++) {
        for (int s = 0; s < SAMPLES; s++) {
            struct seccomp_data data = {.nr = nr, .arch = audit_arch};
            data.args[0] = data.args[1] = samples[s];
            check(&data, arg);
        }
    }
}

struct against_table {
    const struct filter *filter;
    const struct kage_filter_map *map;
};

static void check_table(const struct seccomp_data *data, void *arg)
{
    const struct against_table *t = arg;
    enum kage_rule rule =
        data->nr < KAGE_SYSCALL_MAX ? (enum kage_rule)t->map->rule[data->nr] : KAGE_RULE_ENOSYS;
    uint32_t want = expected(rule, data->args[0], data->args[1]);
    uint32_t got = run_filter(t->filter, data);
    if (want != got)
        fail_msg("call %d with %#llx: %#x instead of %#x", data->nr,
                 (unsigned long long)data->args[0], got, want);
}

static void test_every_number_follows_the_table(void **state)
{
    for (size_t a = 0; a < kage_filter_arch_count; a++) {
        for (int p = 0; p < KAGE_POLICY_PROFILE_COUNT; p++) {
            struct kage_filter_map map;
            struct filter f;
            compile(&kage_filter_archs[a], (enum kage_policy_profile)p, &map, &f);
            each_verdict(check_table, kage_filter_archs[a].audit_arch,
                         &(struct against_table){&f, &map});
        }
    }
}

/* The numbers that must never move, spelled out once more. */
static void test_key_numbers(void **state)
{
    static const struct {
        const char *arch;
        int nr;
        enum kage_rule rule;
    } cases[] = {
        {"x86_64", 0, KAGE_RULE_ALLOW},            /* read */
        {"x86_64", 56, KAGE_RULE_NO_NAMESPACES},   /* clone */
        {"x86_64", 59, KAGE_RULE_ALLOW},           /* execve */
        {"x86_64", 165, KAGE_RULE_EPERM},          /* mount */
        {"x86_64", 272, KAGE_RULE_NO_NAMESPACES},  /* unshare */
        {"x86_64", 321, KAGE_RULE_EPERM},          /* bpf */
        {"x86_64", 425, KAGE_RULE_EPERM},          /* io_uring_setup */
        {"x86_64", 435, KAGE_RULE_ENOSYS},         /* clone3 */
        {"aarch64", 40, KAGE_RULE_EPERM},          /* mount */
        {"aarch64", 63, KAGE_RULE_ALLOW},          /* read */
        {"aarch64", 97, KAGE_RULE_NO_NAMESPACES},  /* unshare */
        {"aarch64", 220, KAGE_RULE_NO_NAMESPACES}, /* clone */
        {"aarch64", 221, KAGE_RULE_ALLOW},         /* execve */
        {"aarch64", 280, KAGE_RULE_EPERM},         /* bpf */
        {"aarch64", 435, KAGE_RULE_ENOSYS},        /* clone3 */
    };
    for (size_t a = 0; a < kage_filter_arch_count; a++) {
        for (int p = 0; p < KAGE_POLICY_PROFILE_COUNT; p++) {
            struct kage_filter_map map;
            const char *why;
            assert_int_equal(
                kage_filter_map(&kage_filter_archs[a], (enum kage_policy_profile)p, &map, &why), 0);
            for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                if (strcmp(cases[i].arch, kage_filter_archs[a].name) == 0)
                    assert_int_equal(map.rule[cases[i].nr], cases[i].rule);
            }
        }
    }
}

static void test_foreign_abis(void **state)
{
    static const uint32_t foreign[] = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_PPC64LE, 0};
    for (size_t a = 0; a < kage_filter_arch_count; a++) {
        for (int p = 0; p < KAGE_POLICY_PROFILE_COUNT; p++) {
            struct kage_filter_map map;
            struct filter f;
            compile(&kage_filter_archs[a], (enum kage_policy_profile)p, &map, &f);
            for (int nr = 0; nr < 600; nr++) {
                struct seccomp_data data = {.nr = nr | 0x40000000, /* x32 */
                                            .arch = kage_filter_archs[a].audit_arch};
                assert_int_equal(run_filter(&f, &data), SECCOMP_RET_ERRNO | ENOSYS);
                data.nr = nr;
                for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
                    data.arch = foreign[i];
                    assert_int_equal(run_filter(&f, &data), SECCOMP_RET_KILL_PROCESS);
                }
            }
            struct seccomp_data negative = {.nr = -1, .arch = kage_filter_archs[a].audit_arch};
            assert_int_equal(run_filter(&f, &negative), SECCOMP_RET_ERRNO | ENOSYS);
        }
    }
}

static void add_with_libseccomp(scmp_filter_ctx ctx, int nr, enum kage_rule rule)
{
    const struct kage_condition *c = kage_policy_condition(rule);
    uint32_t refuse = SCMP_ACT_ERRNO((uint32_t)kage_rule_errno(rule));
    if (!c) {
        if (rule != KAGE_RULE_ENOSYS) /* the default */
            assert_int_equal(
                seccomp_rule_add(ctx, rule == KAGE_RULE_ALLOW ? SCMP_ACT_ALLOW : refuse, nr, 0), 0);
        return;
    }
    if (c->kind == KAGE_CONDITION_NO_BITS) {
        struct scmp_arg_cmp clear = {
            .arg = (unsigned)c->arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = c->values[0]};
        assert_int_equal(seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, 1, &clear), 0);
    }
    for (int i = 0; c->kind != KAGE_CONDITION_NO_BITS && i < c->value_count; i++) {
        struct scmp_arg_cmp equal = {.arg = (unsigned)c->arg,
                                     .op = SCMP_CMP_MASKED_EQ,
                                     .datum_a = 0xffffffff,
                                     .datum_b = c->values[i]};
        uint32_t action = c->kind == KAGE_CONDITION_ONE_OF ? SCMP_ACT_ALLOW : refuse;
        assert_int_equal(seccomp_rule_add_array(ctx, action, nr, 1, &equal), 0);
    }
}

/* libseccomp has one answer for "nothing matched"; ours differs from call to call
 * for conditions. So the comparison is of allowed or not. */
static void check_same(const struct seccomp_data *data, void *arg)
{
    const struct filter *const *both = arg;
    const struct filter *ours = both[0];
    const struct filter *theirs = both[1];
    uint32_t a = run_filter(ours, data);
    uint32_t b = run_filter(theirs, data);
    if ((a == SECCOMP_RET_ALLOW) != (b == SECCOMP_RET_ALLOW))
        fail_msg("call %d with %#llx: %#x here, %#x from libseccomp", data->nr,
                 (unsigned long long)data->args[0], a, b);
}

/* "All but these values" is not what an allow list can say to libseccomp, so for
 * those calls it gets one with the answer turned round. */
static void with_libseccomp(const struct kage_filter_arch *arch, const struct kage_filter_map *map,
                            struct filter *f)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    FILE *file = tmpfile();
    assert_non_null(ctx);
    assert_non_null(file);
    seccomp_arch_add(ctx, arch->seccomp_arch);
    if (arch->seccomp_arch != seccomp_arch_native())
        seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
    for (unsigned nr = 0; nr < map->count; nr++) {
        const struct kage_condition *c = kage_policy_condition((enum kage_rule)map->rule[nr]);
        if (!map->known[nr] || (c && c->kind == KAGE_CONDITION_NONE_OF))
            continue;
        /* libseccomp takes the native number and translates it. */
        char *name = seccomp_syscall_resolve_num_arch(arch->seccomp_arch, (int)nr);
        assert_non_null(name);
        add_with_libseccomp(ctx, seccomp_syscall_resolve_name(name), (enum kage_rule)map->rule[nr]);
        free(name);
    }
    assert_int_equal(seccomp_export_bpf(ctx, fileno(file)), 0);
    rewind(file);
    f->len = (int)fread(f->code, sizeof f->code[0], sizeof f->code / sizeof f->code[0], file);
    assert_true(f->len > 100);
    fclose(file);
    seccomp_release(ctx);
}

static void test_libseccomp_agrees(void **state)
{
    for (size_t a = 0; a < kage_filter_arch_count; a++) {
        for (int p = 0; p < KAGE_POLICY_PROFILE_COUNT; p++) {
            struct kage_filter_map map;
            static struct filter ours;
            static struct filter theirs;
            const char *why;
            assert_int_equal(
                kage_filter_map(&kage_filter_archs[a], (enum kage_policy_profile)p, &map, &why), 0);
            /* ioctl, the one such call, is compared with the table instead. */
            for (int nr = 0; nr < KAGE_SYSCALL_MAX; nr++) {
                if (map.rule[nr] == KAGE_RULE_NO_TTY_INPUT)
                    map.rule[nr] = KAGE_RULE_ENOSYS;
            }
            ours.len = kage_filter_compile(&kage_filter_archs[a], &map, ours.code, &why);
            assert_true(ours.len > 0);
            with_libseccomp(&kage_filter_archs[a], &map, &theirs);
            each_verdict(check_same, kage_filter_archs[a].audit_arch,
                         (const struct filter *[]){&ours, &theirs});
        }
    }
}

/* A misspelt name would silently leave a call at ENOSYS; and a call that this
 * libseccomp knows but the table does not was never decided on. */
static void test_names(void **state)
{
    for (size_t i = 0; i < kage_policy_group_count; i++) {
        const char *cursor = NULL;
        const char *name;
        size_t len;
        assert_true(strlen(kage_policy_groups[i].reason) > 10);
        while ((len = kage_policy_next(&kage_policy_groups[i], &cursor, &name)) > 0) {
            char copy[64];
            snprintf(copy, sizeof copy, "%.*s", (int)len, name);
            if (seccomp_syscall_resolve_name(copy) == __NR_SCMP_ERROR)
                fail_msg("libseccomp knows no system call %s", copy);
        }
    }
    for (size_t a = 0; a < kage_filter_arch_count; a++) {
        struct kage_filter_map map;
        const char *why;
        assert_int_equal(kage_filter_map(&kage_filter_archs[a], KAGE_POLICY_DEFAULT, &map, &why),
                         0);
        for (unsigned nr = 0; nr < map.count; nr++) {
            char *name =
                seccomp_syscall_resolve_num_arch(kage_filter_archs[a].seccomp_arch, (int)nr);
            if (name && !map.known[nr])
                fail_msg("the table does not decide on %s", name);
            free(name);
        }
    }
}

static void test_strict_allows_less(void **state)
{
    for (size_t i = 0; i < kage_policy_group_count; i++) {
        const struct kage_policy_group *g = &kage_policy_groups[i];
        if (g->rule[KAGE_POLICY_STRICT] == KAGE_RULE_ALLOW)
            assert_int_equal(g->rule[KAGE_POLICY_DEFAULT], KAGE_RULE_ALLOW);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_every_number_follows_the_table),
        cmocka_unit_test(test_key_numbers),
        cmocka_unit_test(test_foreign_abis),
        cmocka_unit_test(test_libseccomp_agrees),
        cmocka_unit_test(test_strict_allows_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
