#include "sandbox/compile.h"

#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

const struct kage_filter_arch kage_filter_archs[] = {
    {"x86_64", AUDIT_ARCH_X86_64, SCMP_ARCH_X86_64},
    {"aarch64", AUDIT_ARCH_AARCH64, SCMP_ARCH_AARCH64},
};
const size_t kage_filter_arch_count = sizeof kage_filter_archs / sizeof kage_filter_archs[0];

int kage_filter_map(const struct kage_filter_arch *arch, enum kage_policy_profile profile,
                    struct kage_filter_map *map, const char **why)
{
    memset(map, 0, sizeof *map);
    memset(map->rule, KAGE_RULE_ENOSYS, sizeof map->rule);
    for (size_t i = 0; i < kage_policy_group_count; i++) {
        const struct kage_policy_group *group = &kage_policy_groups[i];
        const char *cursor = NULL;
        const char *name;
        size_t len;
        while ((len = kage_policy_next(group, &cursor, &name)) > 0) {
            char copy[64] = "";
            if (len >= sizeof copy) {
                *why = "a name is too long";
                return -1;
            }
            memcpy(copy, name, len);
            /* Negative: not on this architecture, or newer than this libseccomp. */
            int nr = seccomp_syscall_resolve_name_arch(arch->seccomp_arch, copy);
            if (nr < 0)
                continue;
            if (nr >= KAGE_SYSCALL_MAX || map->known[nr]) {
                *why = "a call is named twice or has a number beyond the map";
                return -1;
            }
            map->rule[nr] = (unsigned char)group->rule[profile];
            map->known[nr] = 1;
            if ((unsigned)nr >= map->count)
                map->count = (unsigned)nr + 1;
        }
    }
    return 0;
}

/*
 * Layout: check of the architecture, load of the number, the search tree, one
 * block per argument condition, the returns. Jumps only go forward; a jump to
 * what is not laid out yet is noted as a fixup and filled in when its target is.
 */
enum target {
    TO_ALLOW,
    TO_EPERM,
    TO_ENOSYS,
    TO_CONDITION, /* + rule - KAGE_RULE_CONDITIONS */
    TO_EAFNOSUPPORT = TO_CONDITION + KAGE_RULE_COUNT - KAGE_RULE_CONDITIONS,
    TO_KILL,
    TARGET_COUNT,
};
static_assert((int)TO_ALLOW == (int)KAGE_RULE_ALLOW && (int)TO_EPERM == (int)KAGE_RULE_EPERM &&
                  (int)TO_ENOSYS == (int)KAGE_RULE_ENOSYS &&
                  (int)TO_CONDITION == (int)KAGE_RULE_CONDITIONS,
              "a rule is its own target");

struct run {
    unsigned start;
    enum target target;
};

struct program {
    struct sock_filter *code;
    int len;
    int at[TARGET_COUNT];
    struct fixup {
        int insn;
        bool if_true;
        enum target target;
    } fixups[2 * KAGE_FILTER_MAX];
    int fixup_count;
    bool overflow;
};

static int emit(struct program *p, unsigned code, uint32_t k)
{
    if (p->len == KAGE_FILTER_MAX) {
        p->overflow = true;
        return KAGE_FILTER_MAX - 1;
    }
    p->code[p->len] = (struct sock_filter){(uint16_t)code, 0, 0, k};
    return p->len++;
}

static void jump_later(struct program *p, int insn, bool if_true, enum target target)
{
    p->fixups[p->fixup_count++] = (struct fixup){insn, if_true, target};
}

/* Fills in one branch of a jump. The field has 8 bits, hence the limit. */
static void jump_to(struct program *p, int insn, bool if_true, int to)
{
    int offset = to - insn - 1;
    if (offset < 0 || offset > UINT8_MAX)
        p->overflow = true;
    if (if_true)
        p->code[insn].jt = (uint8_t)offset;
    else
        p->code[insn].jf = (uint8_t)offset;
}

/* Code that finds the run the accumulator lies in, among runs[0..n). */
static void emit_search(struct program *p, const struct run *runs, int n)
{
    int mid = n / 2;
    int insn = emit(p, BPF_JMP | BPF_JGE | BPF_K, runs[mid].start);
    if (mid == 1) {
        jump_later(p, insn, false, runs[0].target);
    } else {
        jump_to(p, insn, false, p->len);
        emit_search(p, runs, mid);
    }
    if (n - mid == 1) {
        jump_later(p, insn, true, runs[mid].target);
    } else {
        jump_to(p, insn, true, p->len);
        emit_search(p, runs + mid, n - mid);
    }
}

static enum target refusal(const struct kage_condition *c)
{
    return c->errnum == EAFNOSUPPORT ? TO_EAFNOSUPPORT : TO_EPERM;
}

static void emit_condition(struct program *p, const struct kage_condition *c)
{
    /* Both architectures are little-endian: the low half comes first. */
    emit(p, BPF_LD | BPF_W | BPF_ABS,
         (uint32_t)offsetof(struct seccomp_data, args) + 8 * (uint32_t)c->arg);
    bool hit_allows = c->kind == KAGE_CONDITION_ONE_OF;
    unsigned test = c->kind == KAGE_CONDITION_NO_BITS ? BPF_JSET : BPF_JEQ;
    for (int i = 0; i < c->value_count; i++) {
        int insn = emit(p, BPF_JMP | test | BPF_K, c->values[i]);
        jump_later(p, insn, true, hit_allows ? TO_ALLOW : refusal(c));
        if (i == c->value_count - 1)
            jump_later(p, insn, false, hit_allows ? refusal(c) : TO_ALLOW);
    }
}

static void emit_returns(struct program *p)
{
    static const struct {
        enum target target;
        uint32_t action;
    } returns[] = {
        {TO_ALLOW, SECCOMP_RET_ALLOW},
        {TO_EPERM, SECCOMP_RET_ERRNO | EPERM},
        {TO_ENOSYS, SECCOMP_RET_ERRNO | ENOSYS},
        {TO_EAFNOSUPPORT, SECCOMP_RET_ERRNO | EAFNOSUPPORT},
        /* A foreign ABI (32-bit x86 by int 0x80, say) has numbers of its own, and no
         * program of a 64-bit image speaks one by accident. The x32 ABI shares the
         * architecture; its numbers are huge and get the ENOSYS of unknown calls. */
        {TO_KILL, SECCOMP_RET_KILL_PROCESS},
    };
    for (size_t i = 0; i < sizeof returns / sizeof returns[0]; i++)
        p->at[returns[i].target] = emit(p, BPF_RET | BPF_K, returns[i].action);
}

static int find_runs(const struct kage_filter_map *map, struct run runs[KAGE_SYSCALL_MAX + 1])
{
    int n = 0;
    for (unsigned nr = 0; nr <= map->count; nr++) {
        /* One past the last known number stands for everything above. */
        enum target target = nr < map->count ? (enum target)map->rule[nr] : TO_ENOSYS;
        if (n == 0 || runs[n - 1].target != target)
            runs[n++] = (struct run){nr, target};
    }
    return n;
}

int kage_filter_compile(const struct kage_filter_arch *arch, const struct kage_filter_map *map,
                        struct sock_filter prog[KAGE_FILTER_MAX], const char **why)
{
    struct run runs[KAGE_SYSCALL_MAX + 1];
    struct program p = {.code = prog};
    bool used[KAGE_RULE_COUNT] = {false};
    int n = find_runs(map, runs);
    if (n < 2 || n > KAGE_FILTER_MAX) {
        *why = "the table leaves nothing to search, or too much";
        return -1;
    }

    emit(&p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    int check = emit(&p, BPF_JMP | BPF_JEQ | BPF_K, arch->audit_arch);
    jump_to(&p, check, true, p.len);
    jump_later(&p, check, false, TO_KILL);
    emit(&p, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    emit_search(&p, runs, n);
    for (int i = 0; i < n; i++)
        used[runs[i].target] = true;
    for (int rule = KAGE_RULE_CONDITIONS; rule < KAGE_RULE_COUNT; rule++) {
        if (!used[rule])
            continue;
        p.at[rule] = p.len;
        emit_condition(&p, kage_policy_condition((enum kage_rule)rule));
    }
    emit_returns(&p);
    for (int i = 0; i < p.fixup_count; i++)
        jump_to(&p, p.fixups[i].insn, p.fixups[i].if_true, p.at[p.fixups[i].target]);
    if (p.overflow) {
        *why = "the filter is too long for 8-bit jumps";
        return -1;
    }
    return p.len;
}
