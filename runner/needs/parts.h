#pragma once

#include <stdint.h>

#include "runner/diag/diag.h"
#include "runner/host/facts.h"
#include "runner/spec/spec.h"

/* Why something cannot be had, as a finding: of "what is wrong; what to do" the second half becomes
 * the help, and without one `help` (may be NULL) is it. */
void kage_needs_say(struct kage_diags *diags, enum kage_diag_code code, struct kage_span at,
                    const struct kage_error *err, const char *help);

/* Where a need is told: at its own place, or, where nothing of it is written, at the image, which
 * every spec has. */
struct kage_span kage_needs_place(const struct kage_spec *spec, struct kage_loc at);

/* "512 MiB", "2 GiB", "23.5 GiB" */
const char *kage_needs_size(uint64_t bytes, char text[32]);

/* QEMU, its parts, the accelerator, for the facts of the spec's architecture. */
void kage_needs_check_machine(const struct kage_spec *spec, const struct kage_host_facts *facts,
                              struct kage_diags *diags);
void kage_needs_check_capacity(const struct kage_spec *spec,
                               const struct kage_host_capacity *capacity, struct kage_diags *diags);

/* What lies outside of the machine. `disk_free` replaces what the file systems say unless 0. */
void kage_needs_check_image(const struct kage_spec *spec, uint64_t disk_free,
                            struct kage_diags *diags);
void kage_needs_check_folders(const struct kage_spec *spec, struct kage_diags *diags);
void kage_needs_check_scratch(const struct kage_spec *spec, uint64_t disk_free,
                              struct kage_diags *diags);
void kage_needs_check_secrets(const struct kage_spec *spec, struct kage_diags *diags);
void kage_needs_check_ports(const struct kage_spec *spec, struct kage_diags *diags);
