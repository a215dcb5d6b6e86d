#pragma once

#include <stdbool.h>

#include "runner/diag/diag.h"

/* The formats behind kage_diags_render(), one function each. */
struct kage_source;

/* Takes out every finding for which `gone` says so. */
void kage_diags_remove(struct kage_diags *diags,
                       bool (*gone)(const struct kage_finding *finding, void *user), void *user);

struct kage_source *kage_diags_source(struct kage_diags *diags, const char *name);

/* Neither switched off nor a note that nobody asked for. */
bool kage_diags_is_wanted(const struct kage_diags *diags, const struct kage_finding *finding);

/* A JSON string of a text that may hold anything. */
void kage_render_json_string(struct kage_buf *out, const char *s);

void kage_render_human(struct kage_diags *diags, bool color, struct kage_buf *out);
void kage_render_gcc(struct kage_diags *diags, struct kage_buf *out);
void kage_render_json(struct kage_diags *diags, struct kage_buf *out);
void kage_render_github(struct kage_diags *diags, struct kage_buf *out);
void kage_render_sarif(struct kage_diags *diags, struct kage_buf *out);
