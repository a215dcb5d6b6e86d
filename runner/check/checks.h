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
void kage_check_checkpoints(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_habits(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_safety(const struct kage_draft *draft, struct kage_diags *diags);
void kage_check_scripts(const struct kage_draft *draft, struct kage_diags *diags);

/* Where in the file a part of a command's script stands. `line` is that of the file; the part is
 * not found where the script is folded or has escapes, and the script's own place stands in. */
struct kage_span kage_check_place(const struct kage_draft_command *d, int line, const char *part,
                                  size_t len, struct kage_diags *diags);
