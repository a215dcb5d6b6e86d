#include "runner/host/qemu_program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/host/cache.h"
#include "runner/host/child.h"

#define QUESTION_TIMEOUT_MS 20000

/* What to install where. */
static const struct {
    enum kage_arch arch;
    const char *program;
    const char *packages;
} programs[] = {
    {KAGE_ARCH_X86_64, "qemu-system-x86_64",
     "`apt-get install qemu-system-x86` (Debian, Ubuntu), `dnf install qemu-system-x86` (Fedora), "
     "`pacman -S qemu-system-x86` (Arch) or `brew install qemu` (macOS)"},
    {KAGE_ARCH_AARCH64, "qemu-system-aarch64",
     "`apt-get install qemu-system-arm` (Debian, Ubuntu), `dnf install qemu-system-aarch64` "
     "(Fedora), `pacman -S qemu-system-aarch64` (Arch) or `brew install qemu` (macOS)"},
};

char *kage_host_find_in_path(const char *program)
{
    const char *path = getenv("PATH");

    if (!path)
        path = "/usr/bin:/bin";
    for (; *path; path += *path == ':') {
        size_t n = strcspn(path, ":");
        KAGE_CLEANUP(kage_freep) char *file = kage_asprintf("%.*s/%s", (int)n, path, program);
        struct stat st;

        if (n && path[0] == '/' && stat(file, &st) == 0 && S_ISREG(st.st_mode) &&
            access(file, X_OK) == 0)
            return KAGE_TAKE(file);
        path += n;
    }
    return NULL;
}

bool kage_host_parse_version(const char *text, int ret[3])
{
    int v[3] = {0}, n = 0;

    for (; n < 3; n++) {
        char *end;
        long number;

        if (*text < '0' || *text > '9')
            break;
        number = strtol(text, &end, 10);
        if (number > 9999)
            return false;
        v[n] = (int)number;
        text = end + (*end == '.');
        if (*end != '.') {
            n++;
            break;
        }
    }
    if (n < 2)
        return false;
    memcpy(ret, v, sizeof(v));
    return true;
}

/* `QEMU -L help` lists the folders it searches for firmware, one a line. */
static bool has_qboot(const char *qemu)
{
    const char *argv[] = {qemu, "-L", "help", NULL};
    struct kage_child child;
    bool found = false;

    if (kage_child_run(argv, -1, QUESTION_TIMEOUT_MS, NULL, &child, NULL) < 0)
        return false;
    for (const char *s = child.out.data; s && *s && !found; s += *s == '\n') {
        size_t n = strcspn(s, "\n");
        KAGE_CLEANUP(kage_freep) char *file = kage_asprintf("%.*s/qboot.rom", (int)n, s);

        found = access(file, R_OK) == 0;
        s += n;
    }
    kage_child_done(&child);
    return found;
}

static int ask_qemu(struct kage_host_facts *facts, struct kage_error *err)
{
    const char *argv[] = {facts->qemu, "--version", NULL};
    struct kage_child child;
    const char *at;
    int rc = 0;

    if (kage_child_run(argv, -1, QUESTION_TIMEOUT_MS, NULL, &child, err) < 0)
        return -1;
    at = child.out.data ? strstr(child.out.data, "version ") : NULL;
    if (child.timed_out)
        rc = kage_error_set(err, KAGE_CLASS_HOST, "%s --version gave no answer in %d s",
                            facts->qemu, QUESTION_TIMEOUT_MS / 1000);
    else if (!at || !kage_host_parse_version(at + strlen("version "), facts->qemu_version)) {
        KAGE_CLEANUP(kage_freep)
        char *said = kage_printable(child.err.data ? child.err.data : "",
                                    child.err.data ? strcspn(child.err.data, "\n") : 0);

        rc = kage_error_set(
            err, KAGE_CLASS_HOST, "%s does not work: --version ended with %s %d%s%s", facts->qemu,
            WIFSIGNALED(child.status) ? "signal" : "code",
            WIFSIGNALED(child.status) ? WTERMSIG(child.status) : WEXITSTATUS(child.status),
            *said ? ": " : "", said);
    }
    kage_child_done(&child);
    if (rc == 0 && strstr(facts->qemu, "aarch64") == NULL)
        facts->qboot = has_qboot(facts->qemu);
    return rc;
}

/* The answers are kept as "7.2.22 1"; the program's size and times tell whether it is the same. */
static int version_of(const char *name, struct kage_host_facts *facts, struct kage_error *err)
{
    struct stat st;
    KAGE_CLEANUP(kage_freep) char *key = NULL;
    KAGE_CLEANUP(kage_freep) char *answer = NULL;
    const char *flag;

    if (stat(facts->qemu, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "%s", facts->qemu);
    key = kage_asprintf("1 %s %llu %lld %lld", facts->qemu, (unsigned long long)st.st_size,
                        (long long)st.st_mtime, (long long)st.st_ctime);
    answer = kage_host_cache_get(name, key, 0);
    flag = answer ? strchr(answer, ' ') : NULL;
    if (flag && kage_host_parse_version(answer, facts->qemu_version)) {
        facts->qboot = strcmp(flag, " 1") == 0;
        return 0;
    }
    if (ask_qemu(facts, err) < 0)
        return -1;
    kage_freep(&answer);
    answer = kage_asprintf("%d.%d.%d %d", facts->qemu_version[0], facts->qemu_version[1],
                           facts->qemu_version[2], facts->qboot);
    kage_host_cache_put(name, key, answer);
    return 0;
}

int kage_host_find_qemu(enum kage_arch arch, struct kage_host_facts *facts, struct kage_error *err)
{
    size_t i = 0;

    while (programs[i].arch != arch)
        i++;
    facts->qemu = kage_host_find_in_path(programs[i].program);
    /* Red Hat's own build, for the host's architecture only. */
    if (!facts->qemu && arch == facts->arch && access("/usr/libexec/qemu-kvm", X_OK) == 0)
        facts->qemu = kage_strdup("/usr/libexec/qemu-kvm");
    if (!facts->qemu)
        return kage_error_set(err, KAGE_CLASS_HOST, "%s is not in PATH; install it with %s",
                              programs[i].program, programs[i].packages);
    return version_of(programs[i].program, facts, err);
}
