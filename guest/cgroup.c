#include "guest/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "guest/guest.h"

/*
 * guest->cgroup_fd is a folder of a cgroup v2 tree (Documentation/admin-guide/
 * cgroup-v2.rst). vmd stays outside of it. Below it every command has a folder of
 * its own, so that the folder's limits bound all commands together and each
 * command's own limits bound it alone.
 */

/* Process ids that commands together cannot take: for vmd, kernel threads and helpers. */
#define PIDS_RESERVE 512

static int write_at(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
    ssize_t n;
    int e;

    if (fd < 0)
        return -1;
    n = write(fd, text, strlen(text));
    e = errno;
    close(fd);
    errno = e;
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

static int write_number(int dir, const char *name, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRIu64, value);
    return write_at(dir, name, text);
}

static ssize_t read_at(int dir, const char *name, char *text, size_t size)
{
    int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n;
}

static uint64_t pid_max(const struct kage_guest *guest)
{
    char text[32];

    return read_at(guest->proc_fd, "sys/kernel/pid_max", text, sizeof text) > 0
               ? strtoull(text, NULL, 10)
               : 0;
}

void kage_cgroups_prepare(struct kage_guest *guest, uint64_t memory_reserve)
{
    struct sysinfo info;
    uint64_t pids = pid_max(guest), memory;

    if (guest->cgroup_fd < 0)
        return;
    guest->limit_processes = write_at(guest->cgroup_fd, "cgroup.subtree_control", "+pids") == 0;
    guest->limit_memory = write_at(guest->cgroup_fd, "cgroup.subtree_control", "+memory") == 0;
    if (!memory_reserve)
        return;
    if (pids > 2 * PIDS_RESERVE)
        write_number(guest->cgroup_fd, "pids.max", pids - PIDS_RESERVE);
    if (sysinfo(&info) == 0) {
        memory = (uint64_t)info.freeram * info.mem_unit;
        if (memory > 2 * memory_reserve)
            write_number(guest->cgroup_fd, "memory.max", memory - memory_reserve);
    }
}

/* One more for process 1 of the command's namespace, which is not the command's doing. */
static int limit_processes(struct kage_cgroup *cg, uint64_t max)
{
    if (max == cg->processes)
        return 0;
    cg->processes = max;
    return max ? write_number(cg->fd, "pids.max", max + 1) : write_at(cg->fd, "pids.max", "max");
}

int kage_cgroup_limit(const struct kage_guest *guest, struct kage_cgroup *cg,
                      uint64_t max_processes, uint64_t max_memory)
{
    if ((max_processes && !guest->limit_processes) || (max_memory && !guest->limit_memory)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (limit_processes(cg, max_processes) < 0 ||
        (max_memory && write_number(cg->fd, "memory.max", max_memory) < 0))
        return -1;
    if (max_memory)
        write_at(cg->fd, "memory.swap.max", "0"); /* absent without swap: nothing to forbid then */
    return 0;
}

/* Opened ahead, as it is to be quick to look at them. Reading the events tells the kernel from when
 * on they are news. */
static void open_files(struct kage_cgroup *cg)
{
    char text[512];

    cg->pids_fd = openat(cg->fd, "pids.current", O_RDONLY | O_CLOEXEC);
    cg->events_fd = openat(cg->fd, "memory.events", O_RDONLY | O_CLOEXEC);
    if (cg->events_fd >= 0 && read(cg->events_fd, text, sizeof text) < 0)
        kage_closep(&cg->events_fd);
}

int kage_cgroup_make(struct kage_guest *guest, uint64_t max_processes, uint64_t max_memory,
                     struct kage_cgroup *ret)
{
    struct kage_cgroup cg = {.fd = -1, .events_fd = -1, .pids_fd = -1};

    if (guest->cgroup_fd < 0) {
        errno = EOPNOTSUPP;
        return max_processes || max_memory ? -1 : 0;
    }
    snprintf(cg.name, sizeof cg.name, "c%llu", ++guest->last_cgroup);
    if (mkdirat(guest->cgroup_fd, cg.name, 0755) < 0)
        return -1;
    cg.made = true;
    cg.fd = openat(guest->cgroup_fd, cg.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cg.fd < 0 || kage_cgroup_limit(guest, &cg, max_processes, max_memory) < 0) {
        int e = errno;

        kage_cgroup_done(guest, &cg);
        errno = e;
        return -1;
    }
    open_files(&cg);
    *ret = cg;
    return 0;
}

unsigned long kage_cgroup_processes(const struct kage_cgroup *cg)
{
    char text[24];
    ssize_t n = cg->made ? pread(cg->pids_fd, text, sizeof text - 1, 0) : -1;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strtoul(text, NULL, 10);
}

void kage_cgroup_kill(const struct kage_cgroup *cg)
{
    if (cg->made)
        write_at(cg->fd, "cgroup.kill", "1"); /* since Linux 5.14; the helper kills the rest */
}

/* The kernel tells of events since the file was read by POLLPRI, which costs less than to read
 * numbers that are nearly always zero. */
bool kage_cgroup_out_of_memory(const struct kage_cgroup *cg)
{
    struct pollfd pfd = {.fd = cg->events_fd, .events = POLLPRI};
    char text[512];
    const char *at;

    if (!cg->made || poll(&pfd, 1, 0) <= 0 ||
        read_at(cg->fd, "memory.events", text, sizeof text) <= 0)
        return false;
    at = strstr(text, "\noom_kill ");
    return at && strtoull(at + strlen("\noom_kill "), NULL, 10) > 0;
}

void kage_cgroup_done(struct kage_guest *guest, struct kage_cgroup *cg)
{
    if (!cg->made)
        return;
    kage_closep(&cg->fd);
    kage_closep(&cg->events_fd);
    kage_closep(&cg->pids_fd);
    unlinkat(guest->cgroup_fd, cg->name, AT_REMOVEDIR);
    *cg = (struct kage_cgroup){.fd = -1, .events_fd = -1, .pids_fd = -1};
}
