#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "runner/spec/spec.h"

/*
 * A guest of a few hundred bytes that does what any kernel must do before it can
 * run programs, and then ends QEMU. It answers one question: does this
 * accelerator really run guests?
 *
 * It tells its progress by one letter per stage, and that it got through by
 * KAGE_PROBE_EXIT as QEMU's exit code (x86_64) or a power-off (aarch64, code 0).
 */
#define KAGE_PROBE_EXIT 67 /* isa-debug-exit: twice the guest's value 0x21, plus 1 */

/* Appends the kernel file to `out`; false when there is none for that architecture. */
bool kage_probe_guest(enum kage_arch arch, struct kage_buf *out);

/* What the x86_64 guest does after it has sent `n` letters: "waiting for …". */
const char *kage_probe_stage(size_t n);
