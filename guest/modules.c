#include "guest/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/alloc.h"

static int load(int root_fd, const char *path, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot open the module %s", path);
    if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot load the module %s", path);
    return 0;
}

int kage_modules_load(int root_fd, const char *list, struct kage_error *err)
{
    int fd = openat(root_fd, list, O_RDONLY | O_CLOEXEC);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
    char line[512];
    int r = 0;

    if (!f) {
        kage_closep(&fd);
        return 0;
    }
    while (fgets(line, sizeof line, f)) {
        const char *path = line + strspn(line, "/");

        line[strcspn(line, "\n")] = '\0';
        /* The first failure is the cause of those that follow from it. */
        if (*path && load(root_fd, path, r == 0 ? err : NULL) < 0)
            r = -1;
    }
    fclose(f);
    return r;
}
