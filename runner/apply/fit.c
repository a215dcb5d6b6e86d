#include "runner/apply/fit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/plan/plan.h"

/* Memory of a machine that is QEMU's, beside the guest's. */
#define OVERHEAD (UINT64_C(64) << 20)
/* Of what is available this part is left to others: numerator over denominator stays for kage. */
#define SHARE_OF 4
#define SHARE 3

#define CGROUPS "/sys/fs/cgroup"

static bool read_text(const char *path, char *buf, size_t size)
{
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    buf[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static unsigned affinity(void)
{
    cpu_set_t set;
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

static uint64_t available(void)
{
    char text[4096];
    unsigned long long kib = 0;
    const char *line =
        read_text("/proc/meminfo", text, sizeof text) ? strstr(text, "MemAvailable:") : NULL;

    return line && sscanf(line, "MemAvailable: %llu kB", &kib) == 1 ? kib << 10 : UINT64_MAX;
}

/* The limits of one control group (version 2), which hold for everything below it too. */
static void apply_limits(struct kage_fit *fit, const char *folder)
{
    KAGE_CLEANUP(kage_freep) char *quota = kage_asprintf("%s/cpu.max", folder);
    KAGE_CLEANUP(kage_freep) char *limit = kage_asprintf("%s/memory.max", folder);
    KAGE_CLEANUP(kage_freep) char *usage = kage_asprintf("%s/memory.current", folder);
    unsigned long long max, used, period;
    char text[128];

    if (read_text(quota, text, sizeof text) && sscanf(text, "%llu %llu", &max, &period) == 2 &&
        period) {
        unsigned cpus = (unsigned)(max / period);

        if (cpus < fit->cpus)
            fit->cpus = cpus ? cpus : 1;
    }
    if (read_text(limit, text, sizeof text) && sscanf(text, "%llu", &max) == 1 &&
        read_text(usage, text, sizeof text) && sscanf(text, "%llu", &used) == 1) {
        uint64_t left = max > used ? max - used : 0;

        if (left < fit->memory)
            fit->memory = left;
    }
}

void kage_fit_look(struct kage_fit *fit)
{
    char text[4096];
    char *own = read_text("/proc/self/cgroup", text, sizeof text) ? strstr(text, "0::/") : NULL;
    KAGE_CLEANUP(kage_freep) char *folder = NULL;

    *fit = (struct kage_fit){.cpus = affinity(), .memory = available()};
    if (own) {
        own += strlen("0::");
        own[strcspn(own, "\n")] = '\0';
        folder = kage_asprintf("%s%s", CGROUPS, own);
        while (strlen(folder) > strlen(CGROUPS)) {
            apply_limits(fit, folder);
            *strrchr(folder, '/') = '\0';
        }
    }
    apply_limits(fit, CGROUPS);
    if (fit->memory != UINT64_MAX)
        fit->memory = fit->memory / SHARE_OF * SHARE;
}

static uint64_t memory_of(const struct kage_plan *plan)
{
    return plan->memory + OVERHEAD;
}

bool kage_fit_has_room(const struct kage_fit *fit, const struct kage_plan *plan)
{
    uint64_t left = fit->memory > fit->memory_used ? fit->memory - fit->memory_used : 0;

    return !fit->cpus_used ||
           (fit->cpus_used + kage_plan_cpus(plan) <= fit->cpus && memory_of(plan) <= left);
}

void kage_fit_add(struct kage_fit *fit, const struct kage_plan *plan)
{
    fit->cpus_used += kage_plan_cpus(plan);
    fit->memory_used += memory_of(plan);
}

void kage_fit_remove(struct kage_fit *fit, const struct kage_plan *plan)
{
    fit->cpus_used -= kage_plan_cpus(plan);
    fit->memory_used -= memory_of(plan);
}
