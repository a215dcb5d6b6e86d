#include "runner/check/check.h"

#include <stddef.h>

#include "runner/check/checks.h"

static void (*const checks[])(const struct kage_draft *, struct kage_diags *) = {
    kage_check_image,       kage_check_network,   kage_check_shares,  kage_check_mounts,
    kage_check_users,       kage_check_commands,  kage_check_secrets, kage_check_background,
    kage_check_checkpoints, kage_check_artifacts, kage_check_safety,  kage_check_habits,
    kage_check_scripts,
};

void kage_check_draft(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        checks[i](draft, diags);
}
