#pragma once

#include "runner/plan/plan.h"

/* The parts kage_plan_make() is put together from. */

/* `loc` with the file name that the plan owns. */
struct kage_loc kage_plan_loc(const struct kage_plan *plan, struct kage_loc loc);

/* Which accelerator: sets plan->accel and accel_note, or fails with class host. */
int kage_plan_accel(const struct kage_spec *spec, const struct kage_host_facts *facts,
                    struct kage_plan *plan, struct kage_error *err);

/* Why the accelerator of this kind of host cannot run a guest of `guest`; NULL when it can. Owned.
 */
char *kage_plan_accel_obstacle(const struct kage_host_facts *facts, enum kage_arch guest,
                               enum kage_accel accel);

/* The QEMU program and its arguments. Needs arch, accel and shares. */
int kage_plan_qemu(const struct kage_spec *spec, const struct kage_host_facts *facts,
                   struct kage_plan *plan, struct kage_error *err);

/* The frames: sessions, mounts, spawns. Needs shares. */
int kage_plan_frames(const struct kage_spec *spec, struct kage_plan *plan, struct kage_error *err);

/* Adds a zeroed step of that kind. */
struct kage_plan_step *kage_plan_add_step(struct kage_plan *plan, enum kage_plan_step_kind kind,
                                          struct kage_loc loc);

/* Words used in plans, messages and goldens. Static storage. The _from functions return -1 for
 * a word that means nothing. */
const char *kage_arch_name(enum kage_arch arch);
const char *kage_accel_name(enum kage_accel accel);
const char *kage_when_name(enum kage_when when);
const char *kage_ready_name(enum kage_ready ready);
const char *kage_image_form_name(enum kage_image_form form);
int kage_arch_from(const char *word);
int kage_accel_from(const char *word);
int kage_when_from(const char *word);
int kage_ready_from(const char *word);
int kage_image_form_from(const char *word);

/* The frame a step sends: an enum kage_msg_type. */
int kage_plan_step_type(enum kage_plan_step_kind kind);

/* "NAME=%{secret:NAME}", owned. */
char *kage_plan_secret_entry(const char *name);

/* Version of the JSON form; a reader takes its own and no other. */
#define KAGE_PLAN_VERSION 2
