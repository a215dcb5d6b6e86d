#include "runner/host/facts.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "common/base/alloc.h"
#include "runner/host/accel.h"
#include "runner/host/qemu_program.h"
#include "runner/plan/parts.h"
#include "runner/plan/strict_json.h"
#include "runner/spec/units.h"

static int read_uname(struct kage_host_facts *facts, struct kage_error *err)
{
    struct utsname host;

    if (uname(&host) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot ask what this machine is");
    if (strcmp(host.sysname, "Linux") == 0)
        facts->os = kage_strdup("linux");
    else if (strcmp(host.sysname, "Darwin") == 0)
        facts->os = kage_strdup("macos");
    else
        return kage_error_set(err, KAGE_CLASS_HOST, "kage runs on Linux and macOS, not on %s",
                              host.sysname);
    if (strcmp(host.machine, "x86_64") == 0 || strcmp(host.machine, "amd64") == 0)
        facts->arch = KAGE_ARCH_X86_64;
    else if (strcmp(host.machine, "aarch64") == 0 || strcmp(host.machine, "arm64") == 0)
        facts->arch = KAGE_ARCH_AARCH64;
    else
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "kage runs on x86_64 and aarch64 machines, not on %s", host.machine);
    return 0;
}

int kage_host_probe(enum kage_arch guest_arch, enum kage_accel accel, struct kage_host_facts *ret,
                    struct kage_error *err)
{
    struct kage_host_facts facts = {0};

    if (read_uname(&facts, err) < 0)
        goto fail;
    if (guest_arch == KAGE_ARCH_HOST)
        guest_arch = facts.arch;
    if (kage_host_find_qemu(guest_arch, &facts, err) < 0)
        goto fail;
    if (accel != KAGE_ACCEL_TCG && guest_arch == facts.arch)
        kage_host_probe_accel(&facts);
    *ret = facts;
    return 0;
fail:
    kage_host_facts_done(&facts);
    return -1;
}

static void read_accelerators(struct kage_json_obj *o, struct kage_host_facts *facts)
{
    const struct cJSON *list = kage_json_list(o, "accelerators");

    for (const struct cJSON *i = NULL; list && (i = kage_json_list_next(list, i));) {
        const char *word = kage_json_item_str(i);
        int accel = word ? kage_accel_from(word) : -1;

        if (accel <= KAGE_ACCEL_AUTO)
            kage_json_fail(o, "accelerators", "must hold tcg, kvm or hvf");
        facts->kvm |= accel == KAGE_ACCEL_KVM;
        facts->hvf |= accel == KAGE_ACCEL_HVF;
    }
}

static void read_lacks(struct kage_json_obj *o, struct kage_host_facts *facts)
{
    struct kage_buf text = {0};
    const struct cJSON *list;

    if (!kage_json_has(o, "qemu_lacks"))
        return;
    list = kage_json_list(o, "qemu_lacks");
    for (const struct cJSON *i = NULL; list && (i = kage_json_list_next(list, i));) {
        const char *word = kage_json_item_str(i);

        if (!word || *word != '-')
            kage_json_fail(o, "qemu_lacks", "must hold options such as \"-device virtio-9p-pci\"");
        else
            kage_buf_addf(&text, "%s\n", word);
    }
    facts->qemu_lacks = kage_buf_take(&text);
}

static uint64_t read_size(struct kage_json_obj *o, const char *key)
{
    KAGE_CLEANUP(kage_freep) char *text = kage_json_str(o, key, false);
    uint64_t size = 0;

    if (text && (!kage_parse_size(text, &size) || !size))
        kage_json_fail(o, key, "must be a size such as \"8GiB\"");
    return size;
}

static void read_facts(struct kage_json_obj *o, struct kage_host_facts *facts)
{
    KAGE_CLEANUP(kage_freep) char *arch = kage_json_str(o, "arch", true);
    KAGE_CLEANUP(kage_freep) char *version = kage_json_str(o, "qemu_version", false);
    int found = arch ? kage_arch_from(arch) : -1;

    facts->os = kage_json_str(o, "os", true);
    facts->qemu = kage_json_str(o, "qemu", false);
    facts->qboot = kage_json_bool(o, "qboot", false);
    facts->kvm_why = kage_json_str(o, "kvm_why", false);
    facts->hvf_why = kage_json_str(o, "hvf_why", false);
    read_accelerators(o, facts);
    read_lacks(o, facts);
    facts->capacity.cpus = (unsigned)kage_json_u64(o, "cpus", 1, 65536, 0);
    facts->capacity.memory = read_size(o, "memory");
    facts->capacity.memory_free = read_size(o, "memory_free");
    facts->capacity.disk_free = read_size(o, "disk_free");
    if (o->failed)
        return;
    if (strcmp(facts->os, "linux") != 0 && strcmp(facts->os, "macos") != 0)
        kage_json_fail(o, "os", "must be linux or macos");
    if (found <= KAGE_ARCH_HOST)
        kage_json_fail(o, "arch", "must be x86_64 or aarch64");
    if (version && !kage_host_parse_version(version, facts->qemu_version))
        kage_json_fail(o, "qemu_version", "must be a version such as 7.2.22");
    if (o->failed)
        return;
    facts->arch = (enum kage_arch)found;
    if (!facts->qemu)
        facts->qemu = kage_asprintf("qemu-system-%s", kage_arch_name(facts->arch));
}

int kage_host_read(const char *path, struct kage_host_facts *ret, struct kage_error *err)
{
    struct kage_host_facts facts = {0};
    struct kage_json_obj o;
    struct cJSON *root = NULL;

    if (kage_json_load(path, &root, err) < 0)
        return -1;
    o = kage_json_open(root, "",
                       "os arch qemu qemu_version qboot accelerators kvm_why hvf_why qemu_lacks "
                       "cpus memory memory_free disk_free",
                       err);
    read_facts(&o, &facts);
    kage_json_free(root);
    if (o.failed) {
        kage_host_facts_done(&facts);
        return kage_error_wrap(err, "%s", path);
    }
    *ret = facts;
    return 0;
}

void kage_host_facts_done(struct kage_host_facts *facts)
{
    kage_freep(&facts->os);
    kage_freep(&facts->qemu);
    kage_freep(&facts->kvm_why);
    kage_freep(&facts->hvf_why);
    kage_freep(&facts->qemu_lacks);
}
