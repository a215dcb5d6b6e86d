#pragma once

/*
 * Answers that cost a process to find, kept in ${XDG_CACHE_HOME:-~/.cache}/kage/host:
 * one file per question, holding the key it was asked under and the answer. A
 * cache that cannot be read or written is no error; the question is asked again.
 */

/* The answer to `name` if it was asked under the same key and is not older than max_age_s (0: of
 * any age). Owned; NULL when there is none. */
char *kage_host_cache_get(const char *name, const char *key, unsigned max_age_s);
void kage_host_cache_put(const char *name, const char *key, const char *answer);
