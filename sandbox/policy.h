#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * What a sandboxed command may ask of the kernel. policy.c is the only place
 * where a system call is named; the filters, the documentation (through
 * `sandbox-filters --markdown`) and the tests are all made from it.
 *
 * A number that no name of the table has on an architecture answers ENOSYS:
 * that is what a kernel without the call says, and what libraries are prepared
 * for. So a call invented after this table was written is closed, too.
 */
enum kage_policy_profile {
    KAGE_POLICY_DEFAULT,
    KAGE_POLICY_STRICT,
    KAGE_POLICY_PROFILE_COUNT,
};

/* What becomes of a system call. From KAGE_RULE_CONDITIONS on it depends on an
 * argument; kage_policy_condition() says how. */
enum kage_rule {
    KAGE_RULE_ALLOW,
    KAGE_RULE_EPERM,
    KAGE_RULE_ENOSYS,
    KAGE_RULE_CONDITIONS,
    KAGE_RULE_NO_NAMESPACES = KAGE_RULE_CONDITIONS,
    KAGE_RULE_NO_TTY_INPUT,
    KAGE_RULE_PLAIN_PERSONALITY,
    KAGE_RULE_COMMON_FAMILIES,
    KAGE_RULE_UNIX_FAMILY,
    KAGE_RULE_COUNT,
};

enum kage_condition_kind {
    KAGE_CONDITION_NO_BITS, /* allowed while none of values[0]'s bits is set */
    KAGE_CONDITION_NONE_OF, /* allowed unless the argument is one of the values */
    KAGE_CONDITION_ONE_OF,  /* allowed only for one of the values */
};

/* Only the low 32 bits of the argument count: the kernel takes these arguments
 * as int, and a test of all 64 bits would be passed by setting one that the
 * kernel ignores (CVE-2019-10063). */
struct kage_condition {
    const char *summary;
    enum kage_condition_kind kind;
    int arg;
    int errnum; /* what the call answers otherwise */
    uint32_t values[8];
    int value_count;
};

struct kage_policy_group {
    const char *name;
    const char *reason;
    enum kage_rule rule[KAGE_POLICY_PROFILE_COUNT];
    const char *syscalls; /* names, separated by blanks */
};

extern const struct kage_policy_group kage_policy_groups[];
extern const size_t kage_policy_group_count;

const char *kage_policy_profile_name(enum kage_policy_profile profile);

/* NULL for the rules that look at no argument. */
const struct kage_condition *kage_policy_condition(enum kage_rule rule);

/* The errno that a refusing rule gives, 0 for KAGE_RULE_ALLOW. */
int kage_rule_errno(enum kage_rule rule);

/* One name after the other: *cursor starts at NULL; returns the name's length
 * and points *name at it (not NUL-terminated), 0 after the last one. */
size_t kage_policy_next(const struct kage_policy_group *group, const char **cursor,
                        const char **name);
