#pragma once

#include "sandbox/policy.h"

#include <linux/filter.h>

/*
 * Turns the policy into a seccomp filter at build time.
 *
 * libseccomp resolves the names, but the program is laid out here. Its own
 * output tests call after call, three times as many instructions; and since
 * Linux 5.11 the kernel, when a filter is attached, runs it once for every call
 * number to learn which are always allowed. Under software emulation that is
 * time every command would pay. The numbers of the calls lie in long runs with
 * the same answer, so a binary search over the runs needs a quarter of the
 * instructions and six steps to any answer. The unit tests hold the result
 * against what libseccomp itself makes of the same table.
 */
struct kage_filter_arch {
    const char *name;      /* as in __<name>__, the compiler's macro */
    uint32_t audit_arch;   /* AUDIT_ARCH_…: what seccomp_data.arch must say */
    uint32_t seccomp_arch; /* SCMP_ARCH_… */
};

extern const struct kage_filter_arch kage_filter_archs[];
extern const size_t kage_filter_arch_count;

enum { KAGE_FILTER_MAX = 256, KAGE_SYSCALL_MAX = 1024 };

/* The rule of every call number; `known` says which of them the table names. */
struct kage_filter_map {
    unsigned char rule[KAGE_SYSCALL_MAX];
    unsigned char known[KAGE_SYSCALL_MAX];
    unsigned count; /* numbers from here on are unknown */
};

/* Both return a negative number on failure and say why in *why (static text). */
int kage_filter_map(const struct kage_filter_arch *arch, enum kage_policy_profile profile,
                    struct kage_filter_map *map, const char **why);
int kage_filter_compile(const struct kage_filter_arch *arch, const struct kage_filter_map *map,
                        struct sock_filter prog[KAGE_FILTER_MAX], const char **why);
