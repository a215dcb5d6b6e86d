#pragma once

#include <stdbool.h>
#include <stddef.h>

struct kage_node;
struct kage_reader;
struct kage_spec_choice;

/* The jobs of a matrix: one list of choices each, in the spec's order of axes, the last axis
 * changing fastest. Without a matrix there is one job with no choices. */
struct kage_matrix {
    struct kage_spec_choice **jobs;
    size_t n_jobs, n_axes;
};

#define KAGE_MATRIX_MAX 256 /* jobs */

/* Reads the value of 'matrix' (NULL: there is none). False when it cannot be used, which has been
 * reported; there is one job without choices then, so that the rest can still be judged. */
bool kage_matrix_read(struct kage_reader *r, const struct kage_node *node, struct kage_matrix *ret);
