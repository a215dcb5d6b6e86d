#pragma once

#include <stdbool.h>

#include "common/base/error.h"
#include "runner/apply/apply.h"

/* The images of several jobs. Each is found, downloaded or built once, before the first job starts,
 * and all jobs that ask for it share it, or the reason why it cannot be had. */
struct kage_images;

/* Whether one image serves both jobs: everything that chooses it is the same. */
bool kage_images_same(const struct kage_plan *a, const struct kage_plan *b);

struct kage_images *kage_images_new(const struct kage_apply *apply, const struct kage_plans *plans,
                                    struct kage_result *results);
void kage_images_free(struct kage_images *images);

/* Borrowed; NULL with err set. */
const struct kage_image_files *kage_images_of(const struct kage_images *images, size_t job,
                                              struct kage_error *err);
