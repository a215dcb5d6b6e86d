#pragma once

#include <stdbool.h>

#include "runner/diag/diag.h"

/* What a project has settled for all of its specs, in .kage-check.yaml. */
struct kage_check_config {
    bool locked, notes;
    bool has_fail_on;
    enum kage_severity fail_on;
    unsigned char severities[1000]; /* by code; 0: untouched, else one more than the severity */
};

/* Looks for the file in this folder and those above it, up to the root of the repository. Returns
 * its path, owned, or NULL. */
char *kage_check_config_find(const char *folder);

/* Returns -1, with err set, for a file that cannot be read or says what it cannot say. */
int kage_check_config_read(const char *path, struct kage_check_config *ret, struct kage_error *err);

/* Takes over everything that concerns single codes. */
void kage_check_config_apply(const struct kage_check_config *config, struct kage_diags *diags);

/* "error", "warning", "note". */
bool kage_severity_parse(const char *word, enum kage_severity *ret);
