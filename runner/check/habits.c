#include <string.h>

#include "runner/check/checks.h"

void kage_check_habits(const struct kage_draft *draft, struct kage_diags *diags)
{
    (void)draft;
    (void)diags;
}
