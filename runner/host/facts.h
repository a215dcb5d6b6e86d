#pragma once

#include <stdbool.h>

#include "common/base/error.h"
#include "runner/host/capacity.h"
#include "runner/spec/spec.h"

/*
 * What a plan needs to know of the machine that will run it. Probed here, or
 * read from a JSON file (`kage plan --host FILE`) so that a plan for any other
 * host can be printed and tested anywhere.
 */
struct kage_host_facts {
    char *os;                /* "linux", "macos" */
    enum kage_arch arch;     /* the host's own */
    char *qemu;              /* runs guests of the arch probed for; an absolute path, or a name */
    int qemu_version[3];     /* 7,2,22; zeros if unknown */
    bool qboot;              /* QEMU's data folder has qboot.rom, a firmware quicker than SeaBIOS */
    bool kvm, hvf;           /* a probe guest has booted on it */
    char *kvm_why, *hvf_why; /* when not: a clause such as "/dev/kvm is absent"; may be NULL */
    /* What `kage check --host` asks for besides. */
    char
        *qemu_lacks; /* of the parts that plans name: "-device virtio-9p-pci\n…"; NULL: not asked */
    struct kage_host_capacity capacity; /* zeros: not asked */
};

/* Looks at this machine. needs_qemu false skips starting QEMU for its version (kept in the cache
 * folder by the program's size and mtime otherwise). The accelerator probe runs only when `accel`
 * could need one, and its answer is cached per host kernel and QEMU version. */
int kage_host_probe(enum kage_arch guest_arch, enum kage_accel accel, struct kage_host_facts *ret,
                    struct kage_error *err);

/* Reads {"os","arch","qemu","qemu_version":"7.2.22","qboot":true,"accelerators":["tcg","kvm"],
 * "kvm_why","hvf_why","qemu_lacks":["-device virtio-9p-pci"],"cpus":2,"memory":"8GiB",
 * "memory_free":"4GiB","disk_free":"20GiB"}; os, arch and accelerators must be there. */
int kage_host_read(const char *path, struct kage_host_facts *ret, struct kage_error *err);

void kage_host_facts_done(struct kage_host_facts *facts);
