#include "runner/spec/suggest.h"

#include <string.h>

/* No word of the language is longer; longer ones are nobody's typing mistake. */
#define MAX_WORD 32

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c + ('a' - 'A'));
    return c == '_' ? '-' : c;
}

/* Edits to get from a to b, a swap of neighbours being one (optimal string alignment). Case, and
 * '_' for '-', cost nothing. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][MAX_WORD + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t change = fold(a[i - 1]) != fold(b[j - 1]);
            now[j] = least(last[j - 1] + change, 1 + least(last[j], now[j - 1]));
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

void kage_suggest(struct kage_suggestion *s, const char *word, const char *candidate,
                  const char *answer)
{
    size_t n = strlen(word), m = strlen(candidate);
    if (n == 0 || n > MAX_WORD || m > MAX_WORD)
        return;
    size_t d = distance(word, n, candidate, m);
    /* one mistake in a short word, two in a longer one, three in the longest */
    size_t allowed = n <= 2 ? 0 : n <= 4 ? 1 : n <= 8 ? 2 : 3;
    if (d > allowed || d >= m || (s->best && d > s->distance))
        return;
    if (s->best && d == s->distance) {
        s->tie |= strcmp(s->best, answer) != 0;
        return;
    }
    s->tie = false;
    s->best = answer;
    s->distance = d;
}

bool kage_suggestion_is_certain(const struct kage_suggestion *s)
{
    return s->best && !s->tie && s->distance <= 2;
}
