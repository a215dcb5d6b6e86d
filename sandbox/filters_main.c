/*
 * sandbox-filters: a build-time tool. Without arguments it prints the seccomp
 * filters of every profile and architecture as C arrays; with --markdown the
 * policy as the tables that docs/security.md shows.
 */
#include "sandbox/compile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_filter(const struct kage_filter_arch *arch, enum kage_policy_profile profile)
{
    struct kage_filter_map map;
    struct sock_filter prog[KAGE_FILTER_MAX];
    const char *why = "";
    const char *name = kage_policy_profile_name(profile);
    int n = -1;
    if (kage_filter_map(arch, profile, &map, &why) == 0)
        n = kage_filter_compile(arch, &map, prog, &why);
    if (n < 0) {
        fprintf(stderr, "sandbox-filters: %s, %s: %s\n", arch->name, name, why);
        return -1;
    }
    printf("static const struct sock_filter filter_%s[%d] = {\n", name, n);
    for (int i = 0; i < n; i++)
        printf("    {0x%02x, %u, %u, 0x%x},\n", prog[i].code, prog[i].jt, prog[i].jf, prog[i].k);
    printf("};\n");
    return 0;
}

static int print_filters(void)
{
    printf("/* Made by sandbox-filters from sandbox/policy.c. */\n");
    for (size_t a = 0; a < kage_filter_arch_count; a++) {
        const struct kage_filter_arch *arch = &kage_filter_archs[a];
        printf("#%s defined(__%s__)\n", a == 0 ? "if" : "elif", arch->name);
        for (int p = 0; p < KAGE_POLICY_PROFILE_COUNT; p++) {
            if (print_filter(arch, (enum kage_policy_profile)p) < 0)
                return EXIT_FAILURE;
        }
    }
    printf("#else\n#error \"sandbox/compile.c has no entry for this architecture\"\n#endif\n");
    return EXIT_SUCCESS;
}

static void print_rule(enum kage_rule rule)
{
    const struct kage_condition *c = kage_policy_condition(rule);
    int errnum = kage_rule_errno(rule);
    if (c)
        printf(" only %s, else %s |", c->summary, strerrorname_np(errnum));
    else
        printf(" %s |", errnum ? strerrorname_np(errnum) : "yes");
}

static int print_markdown(void)
{
    printf("| group | default | strict | why | calls |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < kage_policy_group_count; i++) {
        const struct kage_policy_group *group = &kage_policy_groups[i];
        printf("| %s |", group->name);
        for (int p = 0; p < KAGE_POLICY_PROFILE_COUNT; p++)
            print_rule(group->rule[p]);
        printf(" %s | `%s` |\n", group->reason, group->syscalls);
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return print_filters();
    if (argc == 2 && strcmp(argv[1], "--markdown") == 0)
        return print_markdown();
    fprintf(stderr, "usage: sandbox-filters [--markdown]\n");
    return 2;
}
