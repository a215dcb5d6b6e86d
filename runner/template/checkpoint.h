#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "runner/plan/plan.h"

/*
 * The checkpoints of a plan: commands after which the machine is saved, and what
 * each of them depends on. A checkpoint is kept as a template is, under a key that
 * is a hash of the template's own key and of all that happened since: every frame
 * up to it, the rules by which commands were judged, and the contents of the
 * inputs. Each key goes into the next one.
 */
struct kage_checkpoint {
    size_t step; /* of its command, in plan->steps */
    char *key;
};

struct kage_checkpoints {
    struct kage_checkpoint *items;
    size_t n;
};

/* Told once when inputs are so large that reading them takes a while. */
typedef void (*kage_inputs_large_fn)(void *user);

/* Finds them, reading the inputs. `max` of them at most. Fails when an input cannot be read: class
 * spec, with its place. */
int kage_checkpoints_find(const struct kage_plan *plan, const char *template_key, size_t max,
                          kage_inputs_large_fn large, void *user, struct kage_checkpoints *ret,
                          struct kage_error *err);
void kage_checkpoints_done(struct kage_checkpoints *checkpoints);

/* What became of the commands up to a checkpoint, kept with it. */
enum kage_past { KAGE_PAST_NOT_RUN, KAGE_PAST_PASSED, KAGE_PAST_RUNNING };

struct kage_past_command {
    enum kage_past past;
    int exit_code; /* passed */
    char *handle;  /* running: owned, vmd's name for it */
};

/* As one line of text, owned, and back. Reading checks the text against the plan: one command each
 * up to the checkpoint's, running ones in the background. Returns a list, owned, or NULL. */
char *kage_past_write(const struct kage_past_command *commands, size_t n);
struct kage_past_command *kage_past_read(const char *text, const struct kage_plan *plan,
                                         size_t checkpoint_step, size_t *ret_n);
void kage_past_free(struct kage_past_command *commands, size_t n);
