#pragma once

#include <stddef.h>

#include "common/base/error.h"

/*
 * Libraries that few runs need and that bring many others along: libcurl and
 * libarchive load forty more, which took longer than checking a spec does. They
 * are opened when first used. A header beside this one for each library keeps its own
 * names and types: code that includes it calls curl_easy_init() as ever, once
 * kage_curl_load() has succeeded.
 */
struct kage_lazy_function {
    const char *name;
    void **slot;
};

/* Opens the library and fills the slots. `package` is what to install when it is not there. */
int kage_lazy_load(const char *soname, const char *package,
                   const struct kage_lazy_function *functions, size_t n, struct kage_error *err);
