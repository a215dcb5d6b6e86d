#pragma once

#include <stddef.h>

/* The files of the page, built into the program from web/; see embed.cmake. */
struct kage_web_asset {
    const char *path, *type;
    const unsigned char *data;
    size_t len;
};

extern const struct kage_web_asset kage_web_assets[];
extern const size_t kage_web_n_assets;
