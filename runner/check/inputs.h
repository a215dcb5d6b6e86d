#pragma once

#include <stddef.h>

struct kage_error;

/* The files that arguments of `kage check` stand for. */
struct kage_inputs {
    char **paths;
    size_t n, cap;
};

/* A file, "-", a folder (all specs in it and below) or a pattern (what it matches). Returns -1,
 * with err set, when that is nothing at all. */
int kage_inputs_add(struct kage_inputs *inputs, const char *argument, struct kage_error *err);
void kage_inputs_done(struct kage_inputs *inputs);
