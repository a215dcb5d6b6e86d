#include "sandbox/policy.h"

#include <errno.h>
#include <linux/personality.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80 /* linux/sched.h, since 5.6; no signal number has this bit */
#endif

/* clang-format off: the table reads as a table. */
#define BOTH(rule)                                                                                 \
    {                                                                                              \
        KAGE_RULE_##rule, KAGE_RULE_##rule                                                         \
    }
#define ONLY_DEFAULT                                                                               \
    {                                                                                              \
        KAGE_RULE_ALLOW, KAGE_RULE_EPERM                                                           \
    }

/*
 * The starting point is the profile Docker and Podman ship, because a decade of
 * ordinary programs has run under it. Where this table differs the reason says so.
 */
const struct kage_policy_group kage_policy_groups[] = {
    {"files",
     "Acts on paths and descriptors with the caller's own rights; mknod makes FIFOs, "
     "and devices fail for want of CAP_MKNOD.",
     BOTH(ALLOW),
     "read write open close stat fstat lstat lseek pread64 pwrite64 readv writev preadv pwritev "
     "preadv2 pwritev2 access faccessat faccessat2 openat openat2 creat dup dup2 dup3 pipe pipe2 "
     "fcntl flock fsync fdatasync sync syncfs sync_file_range truncate ftruncate fallocate "
     "fadvise64 readahead getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir "
     "mkdirat rmdir link linkat unlink unlinkat symlink symlinkat readlink readlinkat chmod fchmod "
     "fchmodat fchmodat2 chown fchown lchown fchownat umask statfs fstatfs statx newfstatat utime "
     "utimes futimesat utimensat mknod mknodat sendfile copy_file_range splice tee close_range "
     "cachestat"},
    {"attributes",
     "Extended attributes; the privileged name spaces want capabilities that "
     "are gone.",
     BOTH(ALLOW),
     "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr "
     "removexattr lremovexattr fremovexattr"},
    {"watching files", "inotify on files that can be opened anyway; build tools need it.",
     BOTH(ALLOW), "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch"},
    {"waiting", "poll and its relatives, and the descriptors made for them.", BOTH(ALLOW),
     "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait "
     "epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime "
     "timerfd_gettime"},
    {"memory", "The caller's own address space.", BOTH(ALLOW),
     "mmap mprotect munmap brk mremap msync mincore madvise mlock mlock2 munlock mlockall "
     "munlockall membarrier pkey_mprotect pkey_alloc pkey_free memfd_create map_shadow_stack"},
    {"processes", "Starting, replacing, waiting for and ending processes and threads.", BOTH(ALLOW),
     "fork vfork execve execveat exit exit_group wait4 waitid getpid getppid gettid getpgid "
     "getpgrp getsid setpgid setsid set_tid_address set_robust_list get_robust_list futex "
     "futex_waitv futex_wake futex_wait futex_requeue rseq restart_syscall arch_prctl prctl "
     "sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler "
     "sched_getattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval "
     "getpriority setpriority getrusage getrlimit setrlimit prlimit64 times getcpu pidfd_open "
     "pidfd_send_signal"},
    {"signals", "To processes of the command's own PID namespace, under the kernel's rules.",
     BOTH(ALLOW),
     "kill tkill tgkill rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait "
     "rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend sigaltstack pause alarm getitimer setitimer"},
    {"time",
     "Reading clocks, sleeping, timers. adjtimex and clock_adjtime only read without "
     "CAP_SYS_TIME.",
     BOTH(ALLOW),
     "time gettimeofday clock_gettime clock_getres nanosleep clock_nanosleep timer_create "
     "timer_settime timer_gettime timer_getoverrun timer_delete adjtimex clock_adjtime"},
    {"credentials",
     "Asking who one is, and changing within what the kernel's capability checks "
     "leave: busybox, su and daemons call these on every start.",
     BOTH(ALLOW),
     "getuid geteuid getgid getegid getgroups getresuid getresgid setuid setgid setreuid setregid "
     "setresuid setresgid setgroups setfsuid setfsgid capget capset"},
    {"system facts", "Harmless to read.", BOTH(ALLOW), "uname sysinfo getrandom"},
    {"self-restriction", "Can only take rights away; browsers and test tools sandbox themselves.",
     BOTH(ALLOW), "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"},
    {"connected sockets",
     "Work on a socket once it exists; which kinds may exist is the next "
     "group's matter.",
     BOTH(ALLOW),
     "connect accept accept4 sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown bind "
     "listen "
     "getsockname getpeername setsockopt getsockopt"},
    {"new sockets",
     "Unix and internet sockets, and netlink, which getifaddrs() needs; strict: "
     "unix only. Rare families are kernel code that no job needs, and AF_VSOCK "
     "would reach past the network namespace.",
     {KAGE_RULE_COMMON_FAMILIES, KAGE_RULE_UNIX_FAMILY},
     "socket socketpair"},
    {"new tasks",
     "Threads and processes, but no new namespaces: a user namespace would bring all "
     "capabilities, and with them most of the kernel's attack surface, back.",
     BOTH(NO_NAMESPACES), "clone unshare"},
    {"clone3",
     "Its flags lie in memory, where a filter cannot look. ENOSYS makes the C library "
     "fall back to clone.",
     BOTH(ENOSYS), "clone3"},
    {"device control", "Everything but typing into the terminal that one was started from.",
     BOTH(NO_TTY_INPUT), "ioctl"},
    {"personality",
     "The values Docker allows, and without address randomisation, which debuggers "
     "and sanitizers ask for.",
     BOTH(PLAIN_PERSONALITY), "personality"},
    {"debugging",
     "Own user, own PID namespace, no CAP_SYS_PTRACE: debuggers, strace and "
     "LeakSanitizer work and reach nothing that is not theirs. Since Linux 4.8 the "
     "filter also sees what a tracer rewrites.",
     ONLY_DEFAULT, "ptrace process_vm_readv process_vm_writev"},
    {"System V IPC and message queues", "Within the command's own IPC namespace.", ONLY_DEFAULT,
     "shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open "
     "mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr"},
    {"asynchronous I/O", "The old interface; databases use it.", ONLY_DEFAULT,
     "io_setup io_destroy io_getevents io_pgetevents io_submit io_cancel"},
    {"scheduling", "Own processes; real-time classes want CAP_SYS_NICE.", ONLY_DEFAULT,
     "sched_setparam sched_setscheduler sched_setattr ioprio_set ioprio_get"},
    {"memory placement",
     "Own memory. Docker refuses these three, and numactl, the JVM and "
     "PostgreSQL complain.",
     ONLY_DEFAULT, "get_mempolicy set_mempolicy mbind set_mempolicy_home_node"},
    {"less usual file and memory calls", "Allowed by Docker and rarely missed.", ONLY_DEFAULT,
     "vmsplice name_to_handle_at remap_file_pages memfd_secret process_mrelease"},
    {"chroot", "Package managers' test suites want it; it takes CAP_SYS_CHROOT.", ONLY_DEFAULT,
     "chroot"},
    {"io_uring",
     "A large interface with a long record of escalations; refused by Docker since "
     "2023.",
     BOTH(EPERM), "io_uring_setup io_uring_enter io_uring_register"},
    {"kernel programs", "Loading code into the kernel and watching it from inside.", BOTH(EPERM),
     "bpf perf_event_open lookup_dcookie"},
    {"userfaultfd", "Stops the kernel in mid-copy, the classic aid for winning its races.",
     BOTH(EPERM), "userfaultfd"},
    {"keyrings", "Kernel keyrings are not separated by namespaces.", BOTH(EPERM),
     "add_key request_key keyctl"},
    {"joining namespaces", "The way into somebody else's namespaces.", BOTH(EPERM), "setns"},
    {"other processes' insides", "Descriptors, memory hints and page placement of others.",
     BOTH(EPERM), "pidfd_getfd kcmp process_madvise migrate_pages move_pages"},
    {"mounting", "The mount table is vmd's.", BOTH(EPERM),
     "mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr"},
    {"file system administration",
     "Swap, quotas, accounting, opening by handle past every "
     "directory's permissions, and fanotify's view of all files.",
     BOTH(EPERM),
     "swapon swapoff quotactl quotactl_fd acct open_by_handle_at fanotify_init fanotify_mark"},
    {"kernel and machine", "Modules, another kernel, reboot, I/O ports, the kernel log.",
     BOTH(EPERM),
     "init_module finit_module delete_module kexec_load kexec_file_load reboot iopl ioperm syslog"},
    {"names and clock", "The host name was set by kage; the clock belongs to the whole guest.",
     BOTH(EPERM), "sethostname setdomainname settimeofday clock_settime"},
    {"segments", "Wants 32-bit programs, which do not run here; a source of kernel bugs.",
     BOTH(EPERM), "modify_ldt"},
    {"terminals", "Hangs up the terminal of whoever started the command.", BOTH(EPERM), "vhangup"},
    {"relics", "Removed from Linux or never implemented; answered as a kernel without them does.",
     BOTH(ENOSYS),
     "uselib ustat sysfs _sysctl create_module get_kernel_syms query_module nfsservctl getpmsg "
     "putpmsg afs_syscall tuxcall security vserver epoll_ctl_old epoll_wait_old set_thread_area "
     "get_thread_area"},
};
const size_t kage_policy_group_count = sizeof kage_policy_groups / sizeof kage_policy_groups[0];

static const struct kage_condition conditions[] = {
    [KAGE_RULE_NO_NAMESPACES -
     KAGE_RULE_CONDITIONS] = {"no CLONE_NEW… flag",
                              KAGE_CONDITION_NO_BITS,
                              0,
                              EPERM,
                              {CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                               CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME},
                              1},
    /* TIOCLINUX can paste into a console: the same trick by another name (CVE-2023-28100). */
    [KAGE_RULE_NO_TTY_INPUT - KAGE_RULE_CONDITIONS] =
        {"not TIOCSTI, not TIOCLINUX", KAGE_CONDITION_NONE_OF, 1, EPERM, {TIOCSTI, TIOCLINUX}, 2},
    [KAGE_RULE_PLAIN_PERSONALITY -
        KAGE_RULE_CONDITIONS] = {"PER_LINUX, PER_LINUX32, UNAME26, ADDR_NO_RANDOMIZE, or a query",
                                 KAGE_CONDITION_ONE_OF,
                                 0,
                                 EPERM,
                                 {PER_LINUX, PER_LINUX32, UNAME26, UNAME26 | PER_LINUX32,
                                  ADDR_NO_RANDOMIZE, 0xffffffff},
                                 6},
    [KAGE_RULE_COMMON_FAMILIES - KAGE_RULE_CONDITIONS] = {"AF_UNIX, AF_INET, AF_INET6, AF_NETLINK",
                                                          KAGE_CONDITION_ONE_OF,
                                                          0,
                                                          EAFNOSUPPORT,
                                                          {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK},
                                                          4},
    [KAGE_RULE_UNIX_FAMILY -
        KAGE_RULE_CONDITIONS] = {"AF_UNIX", KAGE_CONDITION_ONE_OF, 0, EAFNOSUPPORT, {AF_UNIX}, 1},
};
/* clang-format on */

const char *kage_policy_profile_name(enum kage_policy_profile profile)
{
    return profile == KAGE_POLICY_STRICT ? "strict" : "default";
}

const struct kage_condition *kage_policy_condition(enum kage_rule rule)
{
    return rule < KAGE_RULE_CONDITIONS ? NULL : &conditions[rule - KAGE_RULE_CONDITIONS];
}

int kage_rule_errno(enum kage_rule rule)
{
    switch (rule) {
    case KAGE_RULE_ALLOW:
        return 0;
    case KAGE_RULE_EPERM:
        return EPERM;
    case KAGE_RULE_ENOSYS:
        return ENOSYS;
    default:
        return kage_policy_condition(rule)->errnum;
    }
}

size_t kage_policy_next(const struct kage_policy_group *group, const char **cursor,
                        const char **name)
{
    const char *p = *cursor ? *cursor : group->syscalls;
    p += strspn(p, " ");
    *name = p;
    size_t len = strcspn(p, " ");
    *cursor = p + len;
    return len;
}
