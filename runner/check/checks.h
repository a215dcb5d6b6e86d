#pragma once

#include "runner/diag/diag.h"
#include "runner/spec/draft.h"

/* One subject each; kage_check_draft() calls them in the order of their table. */
void kage_check_shares(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_mounts(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_users(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_commands(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_network(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_image(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_habits(const struct kage_draft *draft, struct kage_diags *diags);
