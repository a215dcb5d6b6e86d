#include "runner/host/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"

#define ENTRY_MAX 8192

/* Opens a folder below `at`, making it when it is missing. A folder that others could have
 * written to is not used: an answer in it could be theirs. */
static int open_folder(int at, const char *name)
{
    struct stat st;
    int fd;

    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return -1;
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022)))
        kage_closep(&fd);
    return fd;
}

static int open_cache(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    KAGE_CLEANUP(kage_freep) char *base = NULL;
    KAGE_CLEANUP(kage_closep) int kage = -1;

    if (xdg && xdg[0] == '/')
        base = kage_strdup(xdg);
    else if (home && home[0] == '/')
        base = kage_asprintf("%s/.cache", home);
    else
        return -1;
    mkdir(base, 0700);
    {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/kage", base);

        kage = open_folder(AT_FDCWD, path);
    }
    return kage < 0 ? -1 : open_folder(kage, "host");
}

char *kage_host_cache_get(const char *name, const char *key, unsigned max_age_s)
{
    KAGE_CLEANUP(kage_closep) int folder = open_cache();
    KAGE_CLEANUP(kage_closep) int fd = -1;
    char text[ENTRY_MAX];
    size_t key_len = strlen(key);
    struct stat st;
    ssize_t n;

    if (folder < 0)
        return NULL;
    fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    if (max_age_s && (st.st_mtime > time(NULL) || time(NULL) - st.st_mtime > (time_t)max_age_s))
        return NULL;
    n = read(fd, text, sizeof(text));
    /* "key\nanswer\n", whole or not at all */
    if (n < 2 || (size_t)n == sizeof(text) || (size_t)n < key_len + 2 || text[n - 1] != '\n' ||
        memcmp(text, key, key_len) != 0 || text[key_len] != '\n')
        return NULL;
    return kage_strndup(text + key_len + 1, (size_t)n - key_len - 2);
}

void kage_host_cache_put(const char *name, const char *key, const char *answer)
{
    KAGE_CLEANUP(kage_closep) int folder = open_cache();
    KAGE_CLEANUP(kage_closep) int fd = -1;
    KAGE_CLEANUP(kage_freep) char *text = kage_asprintf("%s\n%s\n", key, answer);
    KAGE_CLEANUP(kage_freep) char *part = kage_asprintf("%s.%d.part", name, (int)getpid());
    size_t len = strlen(text);

    if (folder < 0 || len >= ENTRY_MAX)
        return;
    fd = openat(folder, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (write(fd, text, len) != (ssize_t)len || renameat(folder, part, folder, name) < 0)
        unlinkat(folder, part, 0);
}
