#include "runner/apply/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"

/* What a job may hold in memory. Few print more, and twenty at once still fit anywhere. */
#define MEMORY_MAX (1u << 20)

/* Each piece stands behind its header, in memory as in the file: the file takes the beginning, in
 * whole pieces, memory what came since. */
struct header {
    uint32_t len;
    uint32_t is_stderr;
};

struct kage_spool {
    struct kage_buf memory;
    size_t last; /* of the newest header in memory */
    bool has_last;
    int fd; /* -1 until memory is full */
    off_t stored;
    int broken; /* errno */
    /* taking out */
    off_t at; /* from the file's beginning, on through memory */
    struct header piece;
};

struct kage_spool *kage_spool_new(void)
{
    struct kage_spool *spool = kage_alloc(sizeof *spool);

    spool->fd = -1;
    return spool;
}

void kage_spool_free(struct kage_spool *spool)
{
    if (!spool)
        return;
    kage_buf_done(&spool->memory);
    kage_closep(&spool->fd);
    free(spool);
}

const char *kage_spool_folder(void)
{
    const char *folder = getenv("TMPDIR");

    return folder && *folder == '/' ? folder : "/var/tmp";
}

static int store(struct kage_spool *spool)
{
    size_t done = 0;

    if (spool->fd < 0)
        spool->fd = open(kage_spool_folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (spool->fd < 0)
        return errno;
    while (done < spool->memory.len) {
        ssize_t n = write(spool->fd, spool->memory.data + done, spool->memory.len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        done += (size_t)n;
    }
    spool->stored += (off_t)done;
    kage_buf_clear(&spool->memory);
    spool->has_last = false;
    return 0;
}

int kage_spool_add(struct kage_spool *spool, bool is_stderr, const void *data, size_t len)
{
    struct header h = {.len = (uint32_t)len, .is_stderr = is_stderr}, last;

    if (spool->broken || !len)
        return spool->broken;
    if (spool->has_last)
        memcpy(&last, spool->memory.data + spool->last, sizeof last);
    if (spool->has_last && last.is_stderr == is_stderr) {
        last.len += (uint32_t)len;
        memcpy(spool->memory.data + spool->last, &last, sizeof last);
    } else {
        spool->last = spool->memory.len;
        spool->has_last = true;
        kage_buf_add(&spool->memory, &h, sizeof h);
    }
    kage_buf_add(&spool->memory, data, len);
    if (spool->memory.len > MEMORY_MAX)
        spool->broken = store(spool);
    return spool->broken;
}

/* Reads all of `len` bytes from where taking out has come to. */
static int take(struct kage_spool *spool, void *buf, size_t len)
{
    char *to = buf;

    while (len && spool->at < spool->stored) {
        size_t here = (size_t)(spool->stored - spool->at);
        ssize_t n = pread(spool->fd, to, len < here ? len : here, spool->at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n < 0 ? errno : EIO;
            return -1;
        }
        spool->at += n;
        to += n;
        len -= (size_t)n;
    }
    if (len)
        memcpy(to, spool->memory.data + (spool->at - spool->stored), len);
    spool->at += (off_t)len;
    return 0;
}

long kage_spool_take(struct kage_spool *spool, void *buf, size_t size, bool *is_stderr)
{
    if (!spool->piece.len) {
        /* What could not be stored is still in memory. */
        if (spool->at >= spool->stored + (off_t)spool->memory.len)
            return 0;
        if (take(spool, &spool->piece, sizeof spool->piece) < 0)
            return -1;
    }
    if (size > spool->piece.len)
        size = spool->piece.len;
    if (take(spool, buf, size) < 0)
        return -1;
    spool->piece.len -= (uint32_t)size;
    *is_stderr = spool->piece.is_stderr;
    return (long)size;
}
