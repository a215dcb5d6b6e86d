#pragma once

#include "common/base/error.h"
#include "runner/plan/plan.h"

struct kage_mask;

/* The values of a plan's secrets, read from the host when the plan is run. */
struct kage_secrets {
    char **values; /* in the plan's order */
    size_t n;
};

/* Adds every value to the mask as well. */
int kage_secrets_read(const struct kage_plan *plan, struct kage_secrets *ret,
                      struct kage_mask *mask, struct kage_error *err);

/* Whether a secret could be read now. The value is wiped again. */
int kage_secret_try(const struct kage_plan_secret *secret, struct kage_error *err);

/* The payload of a spawn frame with the values in the places the plan left for them. Owned. */
char *kage_secrets_fill(const struct kage_secrets *secrets, const struct kage_plan *plan,
                        const struct kage_plan_step *step, const char *payload);

/* Overwrites the values before they are freed. */
void kage_secrets_done(struct kage_secrets *secrets);
