#include "sandbox/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP(c) (UINT64_C(1) << (c))

/*
 * What root keeps in the default profile: enough to own files, switch users and
 * install packages. Docker's set without MKNOD, which would bring block devices,
 * and NET_RAW, which would forge packets; SYS_PTRACE, SYS_ADMIN and the like
 * were never in it.
 */
static const uint64_t root_capabilities =
    CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER) | CAP(CAP_FSETID) | CAP(CAP_KILL) |
    CAP(CAP_SETGID) | CAP(CAP_SETUID) | CAP(CAP_SETPCAP) | CAP(CAP_NET_BIND_SERVICE) |
    CAP(CAP_SYS_CHROOT) | CAP(CAP_AUDIT_WRITE) | CAP(CAP_SETFCAP);

static uint64_t kept_capabilities(const struct kage_sandbox_options *o)
{
    return o->uid == 0 && o->profile == KAGE_SANDBOX_DEFAULT ? root_capabilities : 0;
}

/* The bounding set is what root gets back at every exec. One call for each: the
 * kernel offers no other way. Its last capability is where it says EINVAL. */
static int drop_bounding_set(uint64_t keep, struct kage_failure *f)
{
    for (unsigned long cap = 0; cap < 64; cap++) {
        if (keep & CAP(cap))
            continue;
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
            if (errno == EINVAL && cap > CAP_AUDIT_READ)
                return 0;
            return kage_failure_set(f, errno, "drop the capability bounding set");
        }
    }
    return 0;
}

static int set_capabilities(uint64_t keep, struct kage_failure *f)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)keep, .permitted = (uint32_t)keep},
        {.effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32)},
    };
    if (syscall(SYS_capset, &header, data) < 0)
        return kage_failure_set(f, errno, "drop capabilities");
    return 0;
}

/* System calls rather than libc's functions: those synchronise all threads of
 * the process, and this one shares its memory with its parent. */
static int switch_user(const struct kage_sandbox_options *o, struct kage_failure *f)
{
    if (syscall(SYS_setgroups, o->group_count, o->groups) < 0)
        return kage_failure_set(f, errno, "set the supplementary groups");
    if (syscall(SYS_setresgid, o->gid, o->gid, o->gid) < 0)
        return kage_failure_set(f, errno, "set the group");
    if (syscall(SYS_setresuid, o->uid, o->uid, o->uid) < 0)
        return kage_failure_set(f, errno, "set the user");
    return 0;
}

int kage_privileges_bound(const struct kage_sandbox_options *o, struct kage_failure *f)
{
    if (o->profile == KAGE_SANDBOX_NONE)
        return 0;
    if (drop_bounding_set(kept_capabilities(o), f) < 0)
        return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return kage_failure_set(f, errno, "set no_new_privs");
    return 0;
}

int kage_privileges_drop(const struct kage_sandbox_options *o, struct kage_failure *f)
{
    if (switch_user(o, f) < 0)
        return -1;
    return o->profile == KAGE_SANDBOX_NONE ? 0 : set_capabilities(kept_capabilities(o), f);
}

/* 1024 open files because select() cannot do more; who knows better may raise it
 * to the hard limit, which is systemd's. Where root itself may not raise a hard
 * limit, the one that is there has to do. */
static int limit_files(void)
{
    struct rlimit limit = {1024, 524288};
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return 0;
    if (errno != EPERM || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    limit.rlim_cur = limit.rlim_max < 1024 ? limit.rlim_max : 1024;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

/* Out of memory, the command should go before vmd and before its own init. Set
 * while CAP_SYS_RESOURCE is there, the value is also the least the command can
 * give itself later. */
static int prefer_for_oom(struct kage_failure *f)
{
    static const char score[] = "500";
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, score, sizeof score - 1);
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    return n < 0 ? kage_failure_set(f, errnum, "set the OOM score") : 0;
}

int kage_limits_set(struct kage_failure *f)
{
    umask(022);
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0 || limit_files() < 0)
        return kage_failure_set(f, errno, "set resource limits");
    return prefer_for_oom(f);
}
