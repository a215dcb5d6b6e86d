#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

/* Where an archive from a guest goes. */
struct kage_unpack {
    int folder;         /* open; nothing outside of it is touched */
    const char *strip;  /* the first part of every name in the archive, or "." for none */
    const char *top;    /* what takes its place: one part, or "" for the folder itself */
    bool top_is_folder; /* the user said so: a file there is an error */
    uint64_t max_size;  /* bytes, and KAGE_UNPACK_ENTRY_COST for each entry */
    const char *limit;  /* what to call that limit; NULL: --max-size */
    bool plain; /* links are left out, hard links only to what came before, names are text */
};

/* About what the smallest file takes on a disk: so one limit bounds bytes and number. */
#define KAGE_UNPACK_ENTRY_COST 4096u

struct kage_unpacked {
    uint64_t entries;
    uint64_t left_out; /* devices, FIFOs, sockets; links, where they are not wanted */
};

/*
 * Reads a tar archive from fd to its end. Its bytes are a guest's word: names that
 * climb or are absolute, and folders that turn out to be links, are errors;
 * files are always made anew, so nothing is written through a link; set-id and
 * sticky bits are dropped; hard links become copies.
 */
int kage_unpack(const struct kage_unpack *where, int fd, struct kage_unpacked *ret,
                struct kage_error *err);
