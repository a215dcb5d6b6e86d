#include "runner/host/capacity.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/alloc.h"

/*
 * Containers and CI runners get less than the machine has: /proc tells of the
 * machine, the cgroup of the part that is ours. A cgroup's limit holds for all
 * below it, so every one from ours up to the root counts. Both versions are
 * read, as many machines mount both (Documentation/admin-guide/cgroup-v2.rst,
 * cgroup-v1/memory.rst in Linux).
 */

#define TEXT_MAX 8192

/* A small file as text; false when it cannot be read. */
static bool read_text(const char *root, const char *path, char text[TEXT_MAX])
{
    KAGE_CLEANUP(kage_freep) char *full = kage_asprintf("%s%s", root, path);
    KAGE_CLEANUP(kage_closep) int fd = open(full, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n;

    if (fd < 0)
        return false;
    while (len < TEXT_MAX - 1 && (n = read(fd, text + len, TEXT_MAX - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return len > 0;
}

/* The number behind a word at the start of a line; 0 if there is none. */
static uint64_t number_of(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, word, n) == 0 && strspn(line + n, ": \t"))
            return strtoull(line + n + strspn(line + n, ": \t"), NULL, 10);
    }
    return 0;
}

static void lower(uint64_t *to, uint64_t value)
{
    if (!*to || value < *to)
        *to = value ? value : 1;
}

static void read_meminfo(const char *root, struct kage_host_capacity *ret)
{
    char text[TEXT_MAX], mode[TEXT_MAX];
    uint64_t limit, used;

    if (!read_text(root, "/proc/meminfo", text))
        return;
    if (number_of(text, "MemAvailable"))
        lower(&ret->memory_free, number_of(text, "MemAvailable") * 1024);
    if (!read_text(root, "/proc/sys/vm/overcommit_memory", mode))
        return;
    /* 0 refuses what would not even fit into empty memory, 1 refuses nothing, 2 counts
     * (Documentation/mm/overcommit-accounting.rst). */
    if (*mode == '0') {
        lower(&ret->memory, (number_of(text, "MemTotal") + number_of(text, "SwapTotal")) * 1024);
    } else if (*mode == '2') {
        limit = number_of(text, "CommitLimit");
        used = number_of(text, "Committed_AS");
        lower(&ret->memory, limit > used ? (limit - used) * 1024 : 1);
    }
}

/* The part of a line of /proc/self/cgroup behind its second colon, if it is about `controller` (""
 * is version 2). Owned, or NULL. */
static char *group_of(const char *text, const char *controller)
{
    for (const char *line = text; line && *line;) {
        size_t len = strcspn(line, "\n"), n;
        const char *list = memchr(line, ':', len);
        const char *path = list ? memchr(list + 1, ':', len - (size_t)(list + 1 - line)) : NULL;

        for (const char *word = list ? list + 1 : NULL; path && word <= path; word += n + 1) {
            n = strcspn(word, ",:");
            if (strlen(controller) == n && strncmp(word, controller, n) == 0)
                return kage_strndup(path + 1, len - (size_t)(path + 1 - line));
        }
        line += len + (line[len] == '\n');
    }
    return NULL;
}

/* Of one version: the files' folder, their names, and what stands in memory.stat for pages of files
 * that can be dropped. */
struct version {
    const char *mount, *limit, *usage, *cache;
};

static void read_memory_limit(const char *root, const char *folder, const struct version *v,
                              struct kage_host_capacity *ret)
{
    KAGE_CLEANUP(kage_freep) char *limit_path = kage_asprintf("%s/%s", folder, v->limit);
    KAGE_CLEANUP(kage_freep) char *usage_path = kage_asprintf("%s/%s", folder, v->usage);
    KAGE_CLEANUP(kage_freep) char *stat_path = kage_asprintf("%s/memory.stat", folder);
    char text[TEXT_MAX];
    uint64_t limit, used = 0, cache = 0;

    /* Version 1 writes none as the largest number of whole pages. */
    if (!read_text(root, limit_path, text) || *text < '0' || *text > '9' ||
        (limit = strtoull(text, NULL, 10)) >= UINT64_C(1) << 62)
        return;
    if (read_text(root, usage_path, text))
        used = strtoull(text, NULL, 10);
    if (read_text(root, stat_path, text))
        cache = number_of(text, v->cache);
    used -= cache < used ? cache : used;
    lower(&ret->memory_free, limit > used ? limit - used : 1);
}

static void read_cpu_limit(const char *root, const char *folder, struct kage_host_capacity *ret)
{
    KAGE_CLEANUP(kage_freep) char *max = kage_asprintf("%s/cpu.max", folder);
    KAGE_CLEANUP(kage_freep) char *quota_path = kage_asprintf("%s/cpu.cfs_quota_us", folder);
    KAGE_CLEANUP(kage_freep) char *period_path = kage_asprintf("%s/cpu.cfs_period_us", folder);
    char text[TEXT_MAX];
    unsigned long long quota = 0, period = 0;

    if (read_text(root, max, text)) {
        if (sscanf(text, "%llu %llu", &quota, &period) != 2)
            return; /* max */
    } else if (read_text(root, quota_path, text) && *text != '-') {
        quota = strtoull(text, NULL, 10);
        if (read_text(root, period_path, text))
            period = strtoull(text, NULL, 10);
    }
    /* Half a processor is one that is slow; one and a half run one guest's processor at once. */
    if (quota && period && quota / period < ret->cpus)
        ret->cpus = quota < period ? 1 : (unsigned)(quota / period);
}

/* Calls for a cgroup and all above it; a path that is not below the mount, as in a container that
 * sees only its own part, is passed over level by level. */
static void walk_up(const char *root, const char *mount, const char *group, const struct version *v,
                    struct kage_host_capacity *ret)
{
    KAGE_CLEANUP(kage_freep) char *folder = kage_asprintf("%s%s", mount, group);
    size_t top = strlen(mount);

    for (;;) {
        size_t n = strlen(folder);

        while (n > top && folder[n - 1] == '/')
            folder[--n] = '\0';
        if (v)
            read_memory_limit(root, folder, v, ret);
        else
            read_cpu_limit(root, folder, ret);
        if (n <= top)
            return;
        *strrchr(folder, '/') = '\0';
    }
}

static void read_cgroups(const char *root, struct kage_host_capacity *ret)
{
    static const struct version one = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                       "memory.usage_in_bytes", "total_inactive_file"};
    static const struct version two[] = {
        {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
        {"/sys/fs/cgroup/unified", "memory.max", "memory.current", "inactive_file"},
    };
    KAGE_CLEANUP(kage_freep) char *memory = NULL, *cpu = NULL, *unified = NULL;
    char text[TEXT_MAX];

    if (!read_text(root, "/proc/self/cgroup", text))
        return;
    memory = group_of(text, "memory");
    cpu = group_of(text, "cpu");
    unified = group_of(text, "");
    if (memory)
        walk_up(root, one.mount, memory, &one, ret);
    if (cpu)
        walk_up(root, "/sys/fs/cgroup/cpu", cpu, NULL, ret);
    for (size_t i = 0; unified && i < sizeof(two) / sizeof(two[0]); i++) {
        walk_up(root, two[i].mount, unified, &two[i], ret);
        walk_up(root, two[i].mount, unified, NULL, ret);
    }
}

void kage_host_read_capacity(const char *root, struct kage_host_capacity *ret)
{
    struct rlimit address_space;
    cpu_set_t set;

    *ret = (struct kage_host_capacity){0};
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        ret->cpus = (unsigned)CPU_COUNT(&set);
    else /* more processors than the set has room for */
        ret->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    read_meminfo(root, ret);
    read_cgroups(root, ret);
    if (!*root && getrlimit(RLIMIT_AS, &address_space) == 0 &&
        address_space.rlim_cur != RLIM_INFINITY)
        lower(&ret->memory, address_space.rlim_cur);
}
