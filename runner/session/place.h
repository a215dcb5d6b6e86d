#pragma once

#include "common/base/error.h"

/* Opens the folder that an artifact goes into and says what it is called there. `to` is relative to
 * `folder`, without "..", and missing folders on the way are made; nothing on the way may be a
 * link, for a guest may have been able to write there. `name` is what a `to` that ends with '/'
 * leaves open. Returns a descriptor and *ret_name (owned), or -1 with err set. */
int kage_place_open(const char *folder, const char *to, const char *name, char **ret_name,
                    struct kage_error *err);
