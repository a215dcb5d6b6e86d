#include "runner/template/sparse.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/alloc.h"

#define CHUNK (1024u * 1024u)
#define PAGE 4096u

static const char zeros[PAGE];

/* The next bytes at or after `at` that are no hole. Returns their number, 0 at the end, -1. */
static off_t next_data(int fd, off_t size, off_t *at)
{
    off_t start, end;

    if (*at >= size)
        return 0;
    start = lseek(fd, *at, SEEK_DATA);
    if (start < 0 && errno == ENXIO) {
        *at = size;
        return 0;
    }
    if (start < 0)
        return -1;
    end = lseek(fd, start, SEEK_HOLE);
    if (end < 0)
        return -1;
    *at = start;
    return (end < size ? end : size) - start;
}

static ssize_t read_at(int fd, char *data, size_t len, off_t at)
{
    ssize_t n;

    do
        n = pread(fd, data, len, at);
    while (n < 0 && errno == EINTR);
    return n;
}

static int write_at(int fd, const char *data, size_t len, off_t at)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Runs of pages that hold something; the pages between them stay holes. */
static int write_pages(int to, const char *data, size_t len, off_t at)
{
    size_t first = 0, i = 0;

    while (i < len) {
        size_t n = len - i < PAGE ? len - i : PAGE;

        if (!memcmp(data + i, zeros, n)) {
            if (i > first && write_at(to, data + first, i - first, at + (off_t)first) < 0)
                return -1;
            first = i + n;
        }
        i += n;
    }
    return len > first ? write_at(to, data + first, len - first, at + (off_t)first) : 0;
}

int kage_sparse_copy(int from, int to, off_t size, off_t *at, uint64_t budget)
{
    KAGE_CLEANUP(kage_freep) char *chunk = kage_alloc(CHUNK);
    off_t there;

    while ((there = next_data(from, size, at)) > 0) {
        size_t want = there < (off_t)CHUNK ? (size_t)there : CHUNK;
        ssize_t n;

        if (!budget)
            return 0;
        n = read_at(from, chunk, want, *at);
        if (n <= 0 || write_pages(to, chunk, (size_t)n, *at) < 0)
            return -1;
        *at += n;
        budget -= (uint64_t)n < budget ? (uint64_t)n : budget;
    }
    return there < 0 ? -1 : 1;
}

int kage_sparse_clone(int from, int to, off_t size)
{
    off_t at = 0;

    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    if (ftruncate(to, size) < 0)
        return -1;
    return kage_sparse_copy(from, to, size, &at, UINT64_MAX) < 0 ? -1 : 0;
}
