#include "runner/session/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"

static int enter(int dir, const char *part)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, fd = openat(dir, part, flags);

    if (fd < 0 && errno == ENOENT && (mkdirat(dir, part, 0777) == 0 || errno == EEXIST))
        fd = openat(dir, part, flags);
    return fd;
}

int kage_place_open(const char *folder, const char *to, const char *name, char **ret_name,
                    struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_strdup(to);
    char *last = strrchr(path, '/'), *save = NULL;
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot open the folder %s", folder);
    if (!last || last[1]) {
        name = last ? to + (last - path) + 1 : to;
        path[last ? last - path : 0] = '\0';
    }
    for (char *part = strtok_r(path, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        int next, errnum;

        if (!strcmp(part, "."))
            continue;
        next = enter(dir, part);
        errnum = errno;
        close(dir);
        if (next < 0 && (errnum == ELOOP || errnum == ENOTDIR))
            return kage_error_set(err, KAGE_CLASS_HOST,
                                  "'%s' on the way to %s/%s is no folder; links are not followed",
                                  part, folder, to);
        if (next < 0)
            return kage_error_errno(err, KAGE_CLASS_HOST, errnum, "cannot enter %s/%s at '%s'",
                                    folder, to, part);
        dir = next;
    }
    *ret_name = kage_strdup(name);
    return dir;
}
