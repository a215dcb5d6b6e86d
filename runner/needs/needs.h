#pragma once

#include "common/base/error.h"

struct kage_diags;
struct kage_spec;

/*
 * What this machine lacks to run a spec, as findings (6xx) at the places of the
 * spec that need it. Nothing is built, downloaded or left behind, but things are
 * tried where only trying tells: a test guest boots on the accelerator (once;
 * the answer is cached), a scratch disk is made, ports are bound.
 */
struct kage_needs;

/* `facts`: a file that describes the machine (QEMU, accelerators, processors, memory), as for `kage
 * plan --host`; files, secrets and ports are looked at here all the same. NULL for this machine.
 * Returns NULL with err set when the file cannot be read. */
struct kage_needs *kage_needs_new(const char *facts, struct kage_error *err);
void kage_needs_freep(struct kage_needs **needs);

/* All jobs of a spec without errors. What is found out about the machine is kept for the next. */
void kage_needs_check(struct kage_needs *needs, const struct kage_spec *spec,
                      struct kage_diags *diags);
