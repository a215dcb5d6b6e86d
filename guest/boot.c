#include "guest/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/proto/frame.h"
#include "guest/cgroup.h"
#include "guest/control.h"
#include "guest/files.h"
#include "guest/guest.h"
#include "guest/modules.h"
#include "guest/mounts.h"
#include "guest/network.h"
#include "guest/options.h"
#include "guest/process.h"
#include "guest/refusal.h"
#include "guest/resume.h"
#include "guest/root.h"
#include "guest/sysroot.h"

/* Where things lie in the initramfs; image-builder puts them there. */
#define HELPER "/kage/sandbox-helper"
#define BUILTIN "/image/usr/bin/busybox"
#define MODULES "kage/modules"
#define SYSROOT "/sysroot"
#define TOKEN "/sys/firmware/qemu_fw_cfg/by_name/" KAGE_TOKEN_FW_CFG "/raw"

/* QEMU's user network answers DNS at this address of the network for commands. */
#define RESOLV_CONF "nameserver 10.0.3.3\n"

/* Of the memory that is free at boot, what all commands together cannot take: vmd's frames in
 * flight and the kernel's own needs. So they run into their limit before the machine runs dry. */
#define MEMORY_RESERVE (24u * 1024u * 1024u)

/* libwebsockets sizes a table by the limit that vmd has when it starts. */
#define OWN_FILES 16384
#define COMMAND_FILES_SOFT 1024 /* select() works with no more */
#define COMMAND_FILES_HARD 524288

void kage_guest_init(struct kage_guest *g)
{
    *g = (struct kage_guest){.initramfs_fd = -1,
                             .helper_fd = -1,
                             .builtin_fd = -1,
                             .proc_fd = -1,
                             .control_fd = -1,
                             .token_fd = -1,
                             .random_fd = -1,
                             .machine_id_fd = -1,
                             .block_fd = -1,
                             .sys_fd = -1,
                             .quiet_net_fd = -1,
                             .open_net_fd = -1,
                             .cgroup_fd = -1};
}

void kage_guest_done(struct kage_guest *g)
{
    int *fds[] = {&g->initramfs_fd, &g->helper_fd, &g->builtin_fd,   &g->proc_fd,
                  &g->control_fd,   &g->token_fd,  &g->random_fd,    &g->machine_id_fd,
                  &g->block_fd,     &g->sys_fd,    &g->quiet_net_fd, &g->open_net_fd,
                  &g->cgroup_fd};

    kage_standby_done(g);
    kage_processes_kill_all(g);
    kage_mounts_done(g);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        kage_closep(fds[i]);
}

static int open_folder(const char *path, int *ret, struct kage_error *err)
{
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret < 0 ? kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot open %s", path) : 0;
}

static int mount_kernel_fs(const char *type, const char *at, struct kage_error *err)
{
    if (mkdir(at, 0755) < 0 && errno != EEXIST)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot make %s", at);
    /* EBUSY: the kernel did it itself. */
    if (mount(type, at, type, MS_NOSUID | MS_NOEXEC, NULL) < 0 && errno != EBUSY)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot mount %s", at);
    return 0;
}

/* The kernel gives PID 1 its console only if the initramfs has the device node. */
static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);

    for (int to = 0; fd >= 0 && to <= 2; to++)
        if (fd != to && fcntl(to, F_GETFD) < 0)
            dup2(fd, to);
    if (fd > 2)
        close(fd);
}

static void raise_own_files(struct kage_guest *g, rlim_t soft, rlim_t hard)
{
    struct rlimit own = {.rlim_cur = OWN_FILES, .rlim_max = hard > OWN_FILES ? hard : OWN_FILES};

    setrlimit(RLIMIT_NOFILE, &own);
    g->command_files = (struct rlimit){.rlim_cur = soft, .rlim_max = hard};
}

static const char *const controllers[] = {"+cpu", "+pids", "+memory"};

/* cgroup v2 as a mount that is attached nowhere: no path leads to it, for nobody. */
static void open_cgroups(struct kage_guest *g)
{
    KAGE_CLEANUP(kage_closep) int fs = fsopen("cgroup2", FSOPEN_CLOEXEC);
    KAGE_CLEANUP(kage_closep) int root = -1;
    KAGE_CLEANUP(kage_closep) int control = -1;

    if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return; /* a kernel without cgroups: commands run, limits are refused */
    root = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (root < 0 || (mkdirat(root, "commands", 0755) < 0 && errno != EEXIST))
        return;
    control = openat(root, "cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
    /* One by one: one that this kernel lacks must not take the others along. With cpu, all commands
     * together weigh as much as vmd or a kernel thread alone, so a fork bomb cannot crowd them out.
     */
    for (size_t i = 0; control >= 0 && i < sizeof controllers / sizeof *controllers; i++)
        if (write(control, controllers[i], strlen(controllers[i])) < 0)
            continue;
    g->cgroup_fd = openat(root, "commands", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kage_cgroups_prepare(g, MEMORY_RESERVE);
}

/* The modules fit the kernel they came with. Another one may have all of this built in; what is
 * really missing shows when it is used, and then the console tells the cause. */
static void load_modules(const struct kage_guest *g)
{
    struct kage_error err = KAGE_ERROR_INIT;

    if (kage_modules_load(g->initramfs_fd, MODULES, &err) < 0)
        dprintf(STDERR_FILENO, "kage: vmd: %s\n", err.message);
    kage_error_done(&err);
    kage_modules_want_for_devices(g);
}

/* A machine that stays can be reached over a network of its own by whoever has its token. */
static int open_way_in(struct kage_guest *g, struct kage_error *err)
{
    int r = kage_network_open_way_in(g, err);

    if (r != 0)
        return r < 0 ? -1 : 0;
    kage_modules_want(g, "qemu_fw_cfg");
    g->token_fd = open(TOKEN, O_RDONLY | O_CLOEXEC);
    if (g->token_fd < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "QEMU passed no token (%s)", TOKEN);
    return 0;
}

/* What the kernel does twice a second for the sake of huge pages to come, it would do in the middle
 * of a restored machine's first command, and it wakes a machine that is idle. Any other value than
 * 0 wakes the thread that does it, which then sees that it is to wait for ever (mm/compaction.c).
 */
static void quiet_kernel(const struct kage_guest *g)
{
    KAGE_CLEANUP(kage_closep)
    int fd = openat(g->proc_fd, "sys/vm/compaction_proactiveness", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && (pwrite(fd, "1", 1, 0) < 0 || pwrite(fd, "0", 1, 0) < 0))
        return; /* it costs time, nothing else */
}

int kage_boot_machine(struct kage_guest *g, struct kage_error *err)
{
    g->machine = g->owns_root = true;
    umask(022);
    if (mount_kernel_fs("proc", "/proc", err) < 0 || mount_kernel_fs("sysfs", "/sys", err) < 0 ||
        mount_kernel_fs("devtmpfs", "/dev", err) < 0)
        return -1;
    open_console();
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del is a signal that nobody waits for, not a reset */
    raise_own_files(g, COMMAND_FILES_SOFT, COMMAND_FILES_HARD);
    if (open_folder("/", &g->initramfs_fd, err) < 0 || open_folder("/proc", &g->proc_fd, err) < 0 ||
        open_folder("/sys", &g->sys_fd, err) < 0 || open_folder("/dev", &g->block_fd, err) < 0)
        return -1;
    g->random_fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    quiet_kernel(g);
    load_modules(g);
    if (open_way_in(g, err) < 0 || kage_network_make_namespaces(g, err) < 0)
        return -1;
    open_cgroups(g);
    /* An initramfs that has none boots all the same; requests for it are refused. */
    if (access(BUILTIN, X_OK) == 0 && kage_sysroot_open_program(BUILTIN, &g->builtin_fd, err) < 0)
        return -1;
    if (kage_sysroot_open_program(HELPER, &g->helper_fd, err) < 0)
        return -1;
    return kage_control_open(g, err);
}

static void write_resolv_conf(const struct kage_guest *g)
{
    struct kage_refusal ignored = {0};

    if (g->open_net_fd < 0)
        return;
    unlink("/etc/resolv.conf"); /* in many images a link into a folder of systemd's */
    kage_file_write("/etc/resolv.conf", RESOLV_CONF, strlen(RESOLV_CONF), 0644, KAGE_RPC_INTERNAL,
                    &ignored);
    kage_refusal_done(&ignored);
}

/* A sysfs shows the interfaces of the network namespace it was mounted from. The one that commands
 * see is theirs, so that it does not tell of the way in. */
static int populate_for_commands(const struct kage_guest *g, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int theirs = g->open_net_fd >= 0 ? g->open_net_fd : g->quiet_net_fd;
    int r;

    if (own < 0 || setns(theirs, CLONE_NEWNET) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot enter the commands' network");
    r = kage_sysroot_populate(SYSROOT, err);
    if (setns(own, CLONE_NEWNET) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot leave the commands' network");
    return r;
}

int kage_boot_enter_root(struct kage_guest *g, struct kage_error *err)
{
    if (kage_root_mount(g, SYSROOT, err) < 0 || populate_for_commands(g, err) < 0 ||
        kage_sysroot_enter(SYSROOT, err) < 0)
        return -1;
    if (sethostname("kage", 4) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot set the host name");
    write_resolv_conf(g);
    kage_renew_identity(g);
    return 0;
}

/* ---- as an ordinary program ---- */

int kage_boot_program(struct kage_guest *g, const struct kage_vmd_options *o,
                      struct kage_error *err)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        raise_own_files(g, files.rlim_cur, files.rlim_max);
    if (open_folder("/proc", &g->proc_fd, err) < 0)
        return -1;
    g->token_fd = open(o->token_file, O_RDONLY | O_CLOEXEC);
    if (g->token_fd < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot open '%s'", o->token_file);
    g->control_fd = o->control_fd;
    if (g->control_fd >= 0 && fcntl(g->control_fd, F_SETFD, FD_CLOEXEC) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot use the control descriptor");
    if (o->cgroup) {
        if (open_folder(o->cgroup, &g->cgroup_fd, err) < 0)
            return -1;
        kage_cgroups_prepare(g, 0);
    }
    if (o->builtin && kage_sysroot_open_program(o->builtin, &g->builtin_fd, err) < 0)
        return -1;
    return kage_sysroot_open_program(o->helper, &g->helper_fd, err);
}

int kage_boot_program_root(struct kage_guest *g, const struct kage_vmd_options *o,
                           struct kage_error *err)
{
    struct kage_error ignored = KAGE_ERROR_INIT;

    /* Without the right to make one, every command gets a namespace of its own. */
    if (kage_network_make_namespaces(g, &ignored) < 0)
        kage_error_done(&ignored);
    if (o->root) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount(o->root, o->root, NULL, MS_BIND | MS_REC, NULL) < 0)
            return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot use '%s' as the root",
                                    o->root);
        if (kage_sysroot_populate(o->root, err) < 0 || kage_sysroot_enter(o->root, err) < 0)
            return -1;
        g->owns_root = true;
    }
    kage_renew_identity(g);
    return 0;
}
