#include "sandbox/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static bool is_unwritable(int fd)
{
    struct statfs fs;
    int seals;
    if (fstatfs(fd, &fs) == 0 && (fs.f_flags & ST_RDONLY))
        return true;
    seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & SEALS) == SEALS;
}

static int copy_sealed(int from)
{
    struct stat st;
    int fd = memfd_create("sandbox-helper", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || fstat(from, &st) < 0)
        return -1;
    while (st.st_size > 0) {
        ssize_t n = sendfile(fd, from, NULL, (size_t)st.st_size);
        if (n <= 0)
            return -1;
        st.st_size -= n;
    }
    return fchmod(fd, 0555) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? -1 : fd;
}

int kage_image_protect(const struct kage_sandbox_options *o, char **self_argv,
                       struct kage_failure *f)
{
    static const char doing[] = "protect the helper's own program file";
    int self;
    int copy;
    /* Others cannot write root's file; unsandboxed root can do anything anyway. */
    if (o->uid != 0 || o->profile == KAGE_SANDBOX_NONE)
        return 0;
    self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (self < 0)
        return kage_failure_set(f, errno, doing);
    if (is_unwritable(self)) {
        close(self);
        return 0;
    }
    copy = copy_sealed(self);
    if (copy >= 0)
        fexecve(copy, self_argv, environ);
    return kage_failure_set(f, errno, doing);
}
