#include "runner/qemu/jail.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/alloc.h"

/* Newer than the oldest kernel headers kage builds with (Debian 12 has ABI 2); values from
 * include/uapi/linux/landlock.h of Linux 6.12. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#define ACCESS_NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)

/* The attribute as of ABI 6; the kernel takes shorter ones from older ABIs by their size. */
struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
};

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                   \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                               \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |   \
     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define FS_ALL (FS_READ | FS_WRITE | LANDLOCK_ACCESS_FS_EXECUTE)
/* A share is a place for files, links, FIFOs and sockets; device nodes have no business there. */
#define FS_WRITE_SHARE (FS_WRITE & ~(LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK))
#define FILE_RIGHTS                                                                                \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |   \
     LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_IOCTL_DEV)

/* Read-only parts of the system that QEMU and its libraries open; those that are absent are
 * skipped. */
static const char *const system_paths[] = {
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib32",
    "/lib",
    "/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/usr/share/qemu",
    "/usr/share/seabios",
    "/usr/local/share/qemu",
    "/etc/resolv.conf",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/etc/qemu",
    "/etc/gnutls",
    "/etc/ssl/openssl.cnf",
    "/dev/urandom",
    "/dev/random",
    "/proc/self",
    "/sys/devices/system",
};
static const char *const device_paths[] = {"/dev/null", "/dev/zero", "/dev/kvm"};

static int add_fd(int ruleset, int fd, uint64_t access)
{
    struct landlock_path_beneath_attr attr = {.allowed_access = access, .parent_fd = fd};
    struct stat st;

    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        attr.allowed_access &= FILE_RIGHTS;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) == 0)
        return 0;
    /* A file that no path leads to, such as a memfd: Landlock takes no rule for it and needs none.
     */
    return errno == EBADFD ? 0 : -1;
}

static int add_path(int ruleset, const char *path, uint64_t access)
{
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -1;
    return add_fd(ruleset, fd, access);
}

/* The dynamic loader a program names: the kernel opens it with the right to execute. Owned, or
 * NULL for a static program or one that cannot be read. */
static char *elf_interpreter(const char *program)
{
    KAGE_CLEANUP(kage_closep) int fd = open(program, O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr eh;
    Elf64_Phdr ph;
    char path[256] = "";

    if (fd < 0 || pread(fd, &eh, sizeof eh, 0) != (ssize_t)sizeof eh ||
        memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64)
        return NULL;
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        off_t at = (off_t)(eh.e_phoff + (uint64_t)i * eh.e_phentsize);

        if (pread(fd, &ph, sizeof ph, at) != (ssize_t)sizeof ph)
            return NULL;
        if (ph.p_type != PT_INTERP || ph.p_filesz >= sizeof path)
            continue;
        if (pread(fd, path, ph.p_filesz, (off_t)ph.p_offset) != (ssize_t)ph.p_filesz)
            return NULL;
        return kage_strdup(path);
    }
    return NULL;
}

static int add_program(int ruleset, const char *program)
{
    KAGE_CLEANUP(kage_freep) char *loader = elf_interpreter(program);
    const uint64_t access = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE;

    if (add_path(ruleset, program, access) < 0)
        return -1;
    return loader ? add_path(ruleset, loader, access) : 0;
}

static int add_system(int ruleset, uint64_t handled)
{
    for (size_t i = 0; i < sizeof system_paths / sizeof *system_paths; i++)
        if (add_path(ruleset, system_paths[i], FS_READ) < 0)
            return -1;
    for (size_t i = 0; i < sizeof device_paths / sizeof *device_paths; i++)
        if (add_path(ruleset, device_paths[i],
                     (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                      LANDLOCK_ACCESS_FS_IOCTL_DEV) &
                         handled) < 0)
            return -1;
    return 0;
}

int kage_jail_prepare(const struct kage_jail *jail, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int ruleset = -1;
    struct ruleset_attr attr = {.handled_access_fs = FS_ALL};
    size_t size = offsetof(struct ruleset_attr, handled_access_net);
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    int r;

    if (abi < 1)
        return -2;
    if (abi >= 2)
        attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        attr.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 4) {
        attr.handled_access_net = jail->network ? 0 : ACCESS_NET_CONNECT_TCP;
        size = offsetof(struct ruleset_attr, scoped);
    }
    if (abi >= 5)
        attr.handled_access_fs |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    if (abi >= 6) {
        attr.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
        size = sizeof attr;
    }
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    r = ruleset < 0 ? -1 : add_program(ruleset, jail->program);
    if (r == 0)
        r = add_system(ruleset, attr.handled_access_fs);
    for (size_t i = 0; r == 0 && i < jail->n_paths; i++) {
        const struct kage_jail_path *p = &jail->paths[i];
        uint64_t access = FS_READ;

        if (p->writable)
            access |= (FS_WRITE_SHARE | LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE) &
                      attr.handled_access_fs;
        r = p->fd >= 0 ? add_fd(ruleset, p->fd, access) : add_path(ruleset, p->path, access);
    }
    if (r < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make the jail for QEMU");
    return kage_take_fd(&ruleset);
}

int kage_jail_enter(int ruleset_fd)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return errno;
    if (ruleset_fd >= 0 && syscall(SYS_landlock_restrict_self, ruleset_fd, 0) < 0)
        return errno;
    return 0;
}
