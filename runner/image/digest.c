#include "runner/image/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/alloc.h"

struct kage_sha256 {
    struct sha256_ctx ctx;
};

struct kage_sha256 *kage_sha256_new(void)
{
    struct kage_sha256 *hash = kage_alloc(sizeof *hash);

    sha256_init(&hash->ctx);
    return hash;
}

void kage_sha256_add(struct kage_sha256 *hash, const void *data, size_t len)
{
    sha256_update(&hash->ctx, len, data);
}

void kage_sha256_end(struct kage_sha256 *hash, char hex[KAGE_SHA256_HEX + 1])
{
    unsigned char raw[SHA256_DIGEST_SIZE];

    _Static_assert(2 * SHA256_DIGEST_SIZE == KAGE_SHA256_HEX, "hexadecimal digits of a digest");
    sha256_digest(&hash->ctx, sizeof raw, raw);
    for (size_t i = 0; i < sizeof raw; i++)
        snprintf(hex + 2 * i, 3, "%02x", raw[i]);
    free(hash);
}

int kage_sha256_fd(int fd, const char *path, char hex[KAGE_SHA256_HEX + 1], struct kage_error *err)
{
    enum { CHUNK = 256 * 1024 };
    KAGE_CLEANUP(kage_freep) char *chunk = kage_alloc(CHUNK);
    char discarded[KAGE_SHA256_HEX + 1];
    struct kage_sha256 *hash = kage_sha256_new();
    off_t at = 0;
    ssize_t n;

    while ((n = pread(fd, chunk, CHUNK, at)) > 0) {
        kage_sha256_add(hash, chunk, (size_t)n);
        at += n;
    }
    if (n < 0) {
        kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read %s", path);
        kage_sha256_end(hash, discarded);
        return -1;
    }
    kage_sha256_end(hash, hex);
    return 0;
}

int kage_sha256_file(const char *path, char hex[KAGE_SHA256_HEX + 1], struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read %s", path);
    return kage_sha256_fd(fd, path, hex, err);
}
