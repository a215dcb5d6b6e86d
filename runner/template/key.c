#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "common/base/alloc.h"
#include "runner/image/digest.h"
#include "runner/plan/parts.h"
#include "runner/qemu/process.h"
#include "runner/template/template.h"

/* Goes into every key: raise it when what is saved, or how, changes. */
#define TEMPLATE_FORMAT "kage template 2"

/* Options whose value the guest cannot see, or that name something of this run only. */
static const char *const invisible[] = {"-name", "-netdev", "-fsdev", "-blockdev"};

bool kage_template_possible(const struct kage_plan *plan)
{
    /* A clock that stands somewhere else would be overwritten when the machine resumes. */
    for (size_t i = 0; i < plan->n_args; i++)
        if (!strcmp(plan->args[i].text, "-rtc"))
            return false;
    return plan->accel == KAGE_ACCEL_TCG || plan->accel == KAGE_ACCEL_KVM;
}

static void add_text(struct kage_sha256 *hash, const char *text)
{
    kage_sha256_add(hash, text, strlen(text) + 1);
}

/* A file stands for its content by what changes with it. */
static int add_file(struct kage_sha256 *hash, const char *path, struct kage_error *err)
{
    struct stat st;
    char id[160];

    if (stat(path, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot look at %s", path);
    snprintf(id, sizeof id, "%llu.%llu.%lld.%lld.%ld", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
             st.st_mtim.tv_nsec);
    add_text(hash, path);
    add_text(hash, id);
    return 0;
}

static bool is_invisible(const char *arg)
{
    for (size_t i = 0; i < sizeof invisible / sizeof *invisible; i++)
        if (!strcmp(arg, invisible[i]))
            return true;
    return false;
}

static void add_args(struct kage_sha256 *hash, const struct kage_plan *plan)
{
    for (size_t i = 0; i < plan->n_args; i++) {
        add_text(hash, plan->args[i].text);
        if (is_invisible(plan->args[i].text))
            i++;
    }
}

/* A guest on KVM has seen the host's processor; a kernel update may show it another one. */
static void add_host_cpu(struct kage_sha256 *hash)
{
    struct utsname host;
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");

    if (uname(&host) == 0)
        add_text(hash, host.release);
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) || !strncmp(line, "flags", 5) || line[0] == '\n') {
            add_text(hash, line);
            if (line[0] == '\n')
                break;
        }
    if (f)
        fclose(f);
}

char *kage_template_key(const struct kage_plan *plan, const struct kage_image_files *files,
                        struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *program = kage_qemu_program(plan->qemu);
    const char *image[] = {files->kernel, files->initrd, files->rootfs};
    struct kage_sha256 *hash = kage_sha256_new();
    char hex[KAGE_SHA256_HEX + 1], disk[32];
    int r = 0;

    add_text(hash, TEMPLATE_FORMAT);
    if (!program)
        r = kage_error_set(err, KAGE_CLASS_HOST, "cannot find %s", plan->qemu);
    else
        r = add_file(hash, program, err);
    for (size_t i = 0; r == 0 && i < sizeof image / sizeof *image; i++)
        if (image[i])
            r = add_file(hash, image[i], err);
    add_text(hash, kage_accel_name(plan->accel));
    if (plan->accel == KAGE_ACCEL_KVM)
        add_host_cpu(hash);
    add_args(hash, plan);
    snprintf(disk, sizeof disk, "disk %llu", (unsigned long long)plan->disk);
    add_text(hash, disk);
    kage_sha256_end(hash, hex);
    return r < 0 ? NULL : kage_strndup(hex, 32);
}
