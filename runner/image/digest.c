#include "runner/image/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/alloc.h"

struct kage_sha256 {
    EVP_MD_CTX *ctx;
};

/* libcrypto fails here only when memory runs out or SHA-256 was configured away. */
static void require(int ok)
{
    if (!ok) {
        fputs("kage: libcrypto refuses to compute SHA-256\n", stderr);
        abort();
    }
}

struct kage_sha256 *kage_sha256_new(void)
{
    struct kage_sha256 *hash = kage_alloc(sizeof *hash);

    hash->ctx = EVP_MD_CTX_new();
    require(hash->ctx && EVP_DigestInit_ex(hash->ctx, EVP_sha256(), NULL));
    return hash;
}

void kage_sha256_add(struct kage_sha256 *hash, const void *data, size_t len)
{
    require(EVP_DigestUpdate(hash->ctx, data, len));
}

void kage_sha256_end(struct kage_sha256 *hash, char hex[KAGE_SHA256_HEX + 1])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    require(EVP_DigestFinal_ex(hash->ctx, raw, &len));
    for (unsigned int i = 0; i < len && i < KAGE_SHA256_HEX / 2; i++)
        snprintf(hex + 2 * i, 3, "%02x", raw[i]);
    EVP_MD_CTX_free(hash->ctx);
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
