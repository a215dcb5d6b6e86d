#pragma once

#include <stddef.h>

#include "common/base/error.h"

/* SHA-256 as 64 hex digits and a NUL. The adapter around Nettle. */
#define KAGE_SHA256_HEX 64

struct kage_sha256;

struct kage_sha256 *kage_sha256_new(void);
void kage_sha256_add(struct kage_sha256 *hash, const void *data, size_t len);
/* Ends the computation and frees `hash`. */
void kage_sha256_end(struct kage_sha256 *hash, char hex[KAGE_SHA256_HEX + 1]);

/* Of an open file from its start to its end; its position is left alone. `path` is for messages. */
int kage_sha256_fd(int fd, const char *path, char hex[KAGE_SHA256_HEX + 1], struct kage_error *err);
int kage_sha256_file(const char *path, char hex[KAGE_SHA256_HEX + 1], struct kage_error *err);
