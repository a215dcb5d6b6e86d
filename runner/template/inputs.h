#pragma once

#include <stdint.h>

#include "common/base/error.h"
#include "runner/image/digest.h"
#include "runner/plan/plan.h"

/* Told of every piece that was read. */
struct kage_inputs_reader {
    void (*read)(uint64_t bytes, void *user);
    void *user;
};

/* Adds one input to a hash, as the guest sees it through its share: names, types, modes and
 * contents, of folders with all that is in them, of links where they point; of one that is
 * itself a link, what it leads to as well. Nothing outside the share is looked at. Memory does not
 * grow with the size. Class spec on failure. */
int kage_input_add(struct kage_sha256 *hash, const struct kage_plan *plan,
                   const struct kage_plan_input *input, const struct kage_inputs_reader *reader,
                   struct kage_error *err);
