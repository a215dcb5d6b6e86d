#include "runner/image/verified.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/image/digest.h"

/* Of another user's making, or a link, it says nothing. */
static bool is_written(const char *stamp, const char *text)
{
    KAGE_CLEANUP(kage_closep) int fd = open(stamp, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char found[512];
    ssize_t n = fd < 0 ? -1 : read(fd, found, sizeof found - 1);

    found[n > 0 ? n : 0] = '\0';
    return !strcmp(found, text);
}

/* By a rename, as others read it meanwhile. Failing costs a check at the next use. */
static void write_stamp(const char *stamp, const char *text)
{
    KAGE_CLEANUP(kage_freep) char *new = kage_asprintf("%s.%d", stamp, (int)getpid());
    KAGE_CLEANUP(kage_closep) int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return;
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text) || rename(new, stamp) < 0)
        unlink(new);
}

int kage_verified(int fd, const char *path, const char *sha256, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *stamp = kage_asprintf("%s.verified", path);
    char text[512], hex[KAGE_SHA256_HEX + 1];
    struct stat st;

    if (fstat(fd, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot look at %s", path);
    snprintf(text, sizeof text, "%s %llu %llu %lld %lld.%09ld %lld.%09ld\n", sha256,
             (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, (long long)st.st_size,
             (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec,
             st.st_ctim.tv_nsec);
    if (is_written(stamp, text))
        return 0;
    if (kage_sha256_fd(fd, path, hex, err) < 0)
        return -1;
    if (strcmp(hex, sha256))
        return kage_error_set(err, KAGE_CLASS_IMAGE, "%s is damaged: its SHA-256 is %s, not %s",
                              path, hex, sha256);
    write_stamp(stamp, text);
    return 0;
}
