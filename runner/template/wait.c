#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "runner/image/store.h"
#include "runner/template/template.h"

/* A fraction of what a restored machine takes to start. */
#define POLL_NS 10000000L
/* A maker that is this old and alive holds its lock. Looking at the lock earlier could come between
 * the maker's making the file and taking it, which would look like somebody cleaning up. */
#define YOUNG_S 2

/* Whether the maker whose workplace this is has ended without finishing. */
static bool is_abandoned(const char *folder)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/lock", folder);
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || time(NULL) - st.st_mtime < YOUNG_S)
        return false;
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

enum kage_template_wait kage_template_wait(const char *key, uint64_t limit_ms)
{
    KAGE_CLEANUP(kage_freep) char *base = kage_cache_folder("templates", NULL);
    KAGE_CLEANUP(kage_freep) char *folder = kage_asprintf("%s/.new-%s", base ? base : "", key);
    struct timespec pause = {.tv_nsec = POLL_NS};
    uint64_t until = kage_now_ms() + limit_ms;

    while (base && access(folder, F_OK) == 0) {
        if (is_abandoned(folder))
            return KAGE_TEMPLATE_ABANDONED;
        if (kage_now_ms() >= until)
            return KAGE_TEMPLATE_TOO_LONG;
        nanosleep(&pause, NULL);
    }
    return KAGE_TEMPLATE_FINISHED;
}
