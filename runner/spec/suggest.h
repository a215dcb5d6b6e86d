#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The best of what has been tried so far. */
struct kage_suggestion {
    const char *best; /* NULL: nothing is close */
    size_t distance;
    bool tie; /* something else is just as close */
};

/* Whether nothing else can well have been meant. */
bool kage_suggestion_is_certain(const struct kage_suggestion *s);

/* Offers `candidate` as what `word` may have been meant to be; `answer` is what to say then. */
void kage_suggest(struct kage_suggestion *s, const char *word, const char *candidate,
                  const char *answer);
