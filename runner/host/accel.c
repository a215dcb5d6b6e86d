#include "runner/host/accel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#endif

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/host/cache.h"
#include "runner/host/child.h"
#include "runner/host/probe_guest.h"

/*
 * That /dev/kvm opens and answers proves nothing. Machines exist where it does
 * both, and then every ordinary guest hangs (nested virtualisation that traps
 * what it cannot emulate) or QEMU aborts on an MSR. So the proof is a guest that
 * really ran (probe_guest.h). It takes 0.1 to 0.3 s where it works; the limit is
 * for machines that are busy with something else.
 */
#define PROBE_TIMEOUT_MS 5000
#define PROBE_TIMEOUT_TCG_MS 60000

/* An answer by timeout may be the fault of a busy machine: it is asked again after a day. */
#define TIMEOUT_AGE_S 86400u

/* QEMU prints this and keeps the stopped guest; waiting on is of no use (accel/kvm/kvm-all.c). */
static bool guest_is_lost(const struct kage_child *child)
{
    return child->err.len && strstr(child->err.data, "KVM internal error") != NULL;
}

/* The guest as a file that only its descriptor names, or on systems without memfd a file that is
 * unlinked at once. */
static int guest_file(enum kage_arch arch)
{
    struct kage_buf guest = {0};
    int fd = -1;

    if (!kage_probe_guest(arch, &guest))
        return -1;
#ifdef __linux__
    fd = memfd_create("kage-probe", MFD_CLOEXEC);
#else
    char path[] = "/tmp/kage-probe-XXXXXX";

    fd = mkstemp(path);
    if (fd >= 0) {
        unlink(path);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
#endif
    if (fd >= 0 && write(fd, guest.data, guest.len) != (ssize_t)guest.len)
        kage_closep(&fd);
    kage_buf_done(&guest);
    return fd;
}

/* The first line of what QEMU complained about, without the program's name in front. */
static char *complaint(const struct kage_child *child)
{
    const char *s = child->err.data ? child->err.data : "";
    const char *colon = strstr(s, ": ");
    size_t n = strcspn(s, "\n");

    if (colon && colon < s + n && strncmp(s, "qemu", 4) == 0) {
        n -= (size_t)(colon + 2 - s);
        s = colon + 2;
    }
    return kage_printable(s, n < 200 ? n : 200);
}

static char *explain(const struct kage_host_facts *facts, const struct kage_child *child)
{
    KAGE_CLEANUP(kage_freep) char *said = complaint(child);
    KAGE_CLEANUP(kage_freep) char *how = NULL;
    bool letters = facts->arch == KAGE_ARCH_X86_64;

    if (*said)
        how = kage_asprintf("QEMU says '%s'", said);
    else if (child->timed_out)
        how = kage_asprintf("it was not through after %d s", PROBE_TIMEOUT_MS / 1000);
    else if (WIFSIGNALED(child->status))
        how = kage_asprintf("QEMU died of signal %d", WTERMSIG(child->status));
    else
        how = kage_asprintf("QEMU ended with code %d", WEXITSTATUS(child->status));
    return kage_asprintf("a test guest fails while %s: %s",
                         letters ? kage_probe_stage(child->out.len) : "running", how);
}

int kage_host_try_accel(const struct kage_host_facts *facts, const char *accel, char **why)
{
    bool x86 = facts->arch == KAGE_ARCH_X86_64;
    bool tcg = strcmp(accel, "tcg") == 0;
    KAGE_CLEANUP(kage_closep) int fd = guest_file(facts->arch);
    KAGE_CLEANUP(kage_freep) char *kernel = NULL;
    struct kage_child child;
    struct kage_error err = KAGE_ERROR_INIT;
    const char *argv[40];
    size_t n = 0;
    int rc;

    if (fd < 0) {
        *why = kage_strdup("there is no test guest for this machine");
        return 1;
    }
    kernel =
        kage_asprintf("%s%d", strcmp(facts->os, "linux") == 0 ? "/proc/self/fd/" : "/dev/fd/", fd);
    argv[n++] = facts->qemu;
    argv[n++] = "-nodefaults";
    argv[n++] = "-no-user-config";
    argv[n++] = "-no-reboot";
    argv[n++] = "-display";
    argv[n++] = "none";
    argv[n++] = "-machine";
    argv[n++] = x86 ? "q35" : "virt";
    argv[n++] = "-accel";
    argv[n++] = accel;
    argv[n++] = "-cpu";
    argv[n++] = tcg ? "max" : "host";
    argv[n++] = "-m";
    argv[n++] = "128M";
    argv[n++] = "-serial";
    argv[n++] = "null";
    argv[n++] = "-kernel";
    argv[n++] = kernel;
    if (x86) {
        argv[n++] = "-device";
        argv[n++] = "isa-debug-exit,iobase=0xf4,iosize=0x04";
        argv[n++] = "-debugcon";
        argv[n++] = "stdio";
    }
    if (x86 && facts->qboot) {
        argv[n++] = "-bios";
        argv[n++] = "qboot.rom";
    }
    argv[n] = NULL;
    if (kage_child_run(argv, fd, tcg ? PROBE_TIMEOUT_TCG_MS : PROBE_TIMEOUT_MS, guest_is_lost,
                       &child, &err) < 0) {
        *why = KAGE_TAKE(err.message);
        return 1;
    }
    rc = !child.timed_out && !child.cut_short && WIFEXITED(child.status) &&
                 WEXITSTATUS(child.status) == (x86 ? KAGE_PROBE_EXIT : 0)
             ? 0
         : child.timed_out ? 2
                           : 1;
    if (rc)
        *why = explain(facts, &child);
    kage_child_done(&child);
    return rc;
}

/* The proof, from the cache or from a test guest. NULL when the accelerator works, else why not. */
static char *prove(const struct kage_host_facts *facts, const char *accel, const char *device)
{
    struct utsname host;
    struct stat st = {0};
    const int *v = facts->qemu_version;
    KAGE_CLEANUP(kage_freep) char *key = NULL;
    KAGE_CLEANUP(kage_freep) char *answer = NULL;
    KAGE_CLEANUP(kage_freep) char *slow = kage_asprintf("%s-timeout", accel);
    char *why = NULL;
    int rc;

    uname(&host);
    if (device)
        stat(device, &st);
    /* The device's node is made anew at each boot, so its change time stands for the boot too. */
    key = kage_asprintf("1 %s %s %s %s %d.%d.%d %llu.%llu.%llu.%lld", accel, host.machine,
                        host.release, facts->qemu, v[0], v[1], v[2], (unsigned long long)st.st_dev,
                        (unsigned long long)st.st_ino, (unsigned long long)st.st_rdev,
                        (long long)st.st_ctime);
    answer = kage_host_cache_get(accel, key, 0);
    if (!answer)
        answer = kage_host_cache_get(slow, key, TIMEOUT_AGE_S);
    if (answer)
        return strcmp(answer, "works") == 0 ? NULL : KAGE_TAKE(answer);
    rc = kage_host_try_accel(facts, accel, &why);
    kage_host_cache_put(rc == 2 ? slow : accel, key, rc == 0 ? "works" : why);
    return why;
}

#ifdef __linux__
static char *why_no_kvm(const struct kage_host_facts *facts)
{
    KAGE_CLEANUP(kage_closep) int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    KAGE_CLEANUP(kage_freep) char *why = NULL;

    if (fd < 0 && (errno == ENOENT || errno == ENXIO || errno == ENODEV))
        return kage_strdup("/dev/kvm is absent: virtualisation is off in the firmware, or this is "
                           "a virtual machine or container without it");
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return kage_strdup("/dev/kvm may not be opened: join the group kvm (`sudo usermod -aG kvm "
                           "$USER`) and log in again");
    if (fd < 0)
        return kage_asprintf("/dev/kvm does not open: %s", strerror(errno));
    if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return kage_strdup("/dev/kvm does not speak the interface QEMU needs");
    kage_closep(&fd);
    why = prove(facts, "kvm", "/dev/kvm");
    return why ? kage_asprintf("/dev/kvm opens, but %s", why) : NULL;
}
#endif

void kage_host_probe_accel(struct kage_host_facts *facts)
{
#ifdef __linux__
    facts->kvm_why = why_no_kvm(facts);
    facts->kvm = !facts->kvm_why;
#else
    facts->hvf_why = prove(facts, "hvf", NULL);
    facts->hvf = !facts->hvf_why;
#endif
}
