#pragma once

#include "runner/plan/plan.h"
#include "runner/plan/strict_json.h"

/* What the two halves of the reader share. */

/* Longest times and sizes a number may have: what doubles hold exactly. */
#define KAGE_PLAN_NUMBER_MAX 9007199254740991u

struct kage_loc kage_plan_read_loc(struct kage_json_obj *o, const struct kage_plan *plan);

/* Reads a word with `from`; `lowest` is the smallest value that may stand in a plan. */
int kage_plan_read_word(struct kage_json_obj *o, const char *key, int (*from)(const char *),
                        int lowest);

/* Reads the payload of a frame under `key` through its validator and encodes it afresh. A spawn
 * must have the id. NULL when that failed. */
char *kage_plan_read_payload(struct kage_json_obj *o, const char *key, int type, uint32_t id);

/* read_outcome.c: secrets, artifacts and the place in the matrix, from the plan's own object. */
int kage_plan_read_outcome(const struct cJSON *root, struct kage_plan *plan,
                           struct kage_error *err);

/* retries, background, pty, ready and secrets of a command; its payload has been read. `n` is the
 * number of commands. */
void kage_plan_read_special(struct kage_json_obj *o, const struct kage_plan *plan,
                            struct kage_plan_step *step, uint32_t n, struct kage_error *err);
