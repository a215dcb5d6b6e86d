#pragma once

#include "runner/diag/diag.h"
#include "runner/spec/draft.h"

/* So many names are compared with a misspelt one. A spec by a person has fewer; with thousands of
 * names, and thousands that are wrong, the comparisons would take minutes. */
#define KAGE_CHECK_CANDIDATES 64

/* One subject each; kage_check_draft() calls them in the order of their table. */
void kage_check_shares(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_mounts(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_users(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_commands(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_network(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_image(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_secrets(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_background(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_artifacts(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_habits(const struct kage_draft *draft, struct kage_diags *diags);
