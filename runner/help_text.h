#pragma once

#include <stddef.h>

struct kage_buf;
struct kage_verb;

/*
 * The help of a verb, as `kage VERB --help` prints it, taken apart: completion and manual pages are
 * made from it, so that a verb describes its options in one place.
 */
struct kage_help_option {
    char *letter; /* "-q", or NULL */
    char *name;   /* "--quiet", or NULL */
    char *value;  /* "FILE", or the words "human|json"; NULL for a switch */
    char *text;
};

struct kage_help {
    char *usage; /* the lines of the synopsis */
    char *text;  /* what stands between it and the options */
    char *rest;  /* what stands behind the options */
    struct kage_help_option *options;
    size_t n_options;
};

void kage_help_read(const struct kage_verb *verb, struct kage_help *ret);
void kage_help_done(struct kage_help *help);
