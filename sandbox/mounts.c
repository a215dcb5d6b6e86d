#include "sandbox/mounts.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/*
 * /proc files are guarded by the owner's uid more often than by a capability, so
 * root without any capability could still write core_pattern (a command the
 * kernel runs as the real root), sysrq-trigger or PCI configuration space.
 * These are the parts that Docker and Podman close, less those that kernels no
 * longer have, and what else a walk through /proc finds writable. What a kernel
 * lacks is skipped: nothing to mask. Nobody but root needs most of them closed,
 * and each costs 40 µs in an emulated guest; the first two also hold files that
 * are open to all and guarded by capability checks alone.
 */
static const char *const read_only_for_all[] = {"/proc/sys", "/proc/pressure"};

static const char *const read_only_for_root[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/acpi", "/proc/scsi", "/proc/dynamic_debug",
};

static const char *const hidden_from_root[] = {
    "/proc/sysrq-trigger", "/proc/kcore",      "/proc/keys",        "/proc/timer_list",
    "/proc/kpageflags",    "/proc/kpagecount", "/proc/kpagecgroup",
};

/* Looks only after a failure, so that the usual case costs nothing, and tells a
 * missing target from a missing /dev/null. */
static bool absent(const char *path)
{
    return access(path, F_OK) < 0 && errno == ENOENT;
}

static int make_read_only(const char *path, struct kage_failure *f)
{
    if (mount(path, path, NULL, MS_BIND, NULL) < 0) {
        int errnum = errno;
        return absent(path) ? 0 : kage_failure_set(f, errnum, "mask a part of /proc");
    }
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              NULL) < 0)
        return kage_failure_set(f, errno, "make a part of /proc read-only");
    return 0;
}

static int hide(const char *path, struct kage_failure *f)
{
    if (mount("/dev/null", path, NULL, MS_BIND, NULL) == 0)
        return 0;
    int errnum = errno;
    return absent(path) ? 0 : kage_failure_set(f, errnum, "hide a part of /proc");
}

static int mask_proc(bool root, struct kage_failure *f)
{
    for (size_t i = 0; i < COUNT(read_only_for_all); i++) {
        if (make_read_only(read_only_for_all[i], f) < 0)
            return -1;
    }
    for (size_t i = 0; root && i < COUNT(read_only_for_root); i++) {
        if (make_read_only(read_only_for_root[i], f) < 0)
            return -1;
    }
    for (size_t i = 0; root && i < COUNT(hidden_from_root); i++) {
        if (hide(hidden_from_root[i], f) < 0)
            return -1;
    }
    return 0;
}

int kage_mounts_setup(const struct kage_sandbox_options *o, struct kage_failure *f)
{
    /* Slave, not private: a share that vmd unmounts goes away here, too. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return kage_failure_set(f, errno, "detach the mount table");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return kage_failure_set(f, errno, "mount /proc");
    return o->profile == KAGE_SANDBOX_NONE ? 0 : mask_proc(o->uid == 0, f);
}
