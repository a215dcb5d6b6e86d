#pragma once

#include "common/base/error.h"
#include "runner/image/image.h"
#include "runner/plan/plan.h"
#include "runner/vm/registry.h"

/*
 * Starts a machine that outlives this process: a process of its own in its own
 * session owns QEMU, the folder and the lock. Returns once the machine is up, with
 * *vm filled in, or fails with what went wrong and nothing left behind. INT, TERM
 * or HUP while waiting end the attempt (class interrupted). After success they stay
 * blocked: the caller has an id to hand on, without which nobody knows the machine.
 *
 * vm->name, image, spec, accel and network are the caller's to set beforehand.
 */
int kage_vm_start(const struct kage_plan *plan, const struct kage_image_files *files,
                  struct kage_vm *vm, struct kage_error *err);
