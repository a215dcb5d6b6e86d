#include "runner/image/kernel.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/image/builder.h"

/* Xen's public/elfnote.h: the note that holds the PVH entry point. */
#define NOTE_PHYS32_ENTRY 18

/* Documentation/arch/x86/boot.rst: "HdrS" at 0x202 marks a kernel of boot protocol 2.00 or later.
 */
#define BZIMAGE_MAGIC_AT 0x202

/* Whether bytes [at, at + want) lie within the file. */
static bool within(size_t size, uint64_t at, uint64_t want)
{
    return at <= size && want <= size - at;
}

static bool notes_hold_entry(const unsigned char *notes, size_t size)
{
    size_t at = 0;

    while (within(size, at, sizeof(Elf64_Nhdr))) {
        Elf64_Nhdr note;
        uint64_t name, next;

        memcpy(&note, notes + at, sizeof note);
        name = at + sizeof note;
        next = name + (((uint64_t)note.n_namesz + 3) & ~3ull) +
               (((uint64_t)note.n_descsz + 3) & ~3ull);
        if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == 4 && within(size, name, 4) &&
            !memcmp(notes + name, "Xen", 4))
            return true;
        if (!within(size, next, 0))
            return false;
        at = (size_t)next;
    }
    return false;
}

static bool elf_has_entry(const unsigned char *file, size_t size)
{
    Elf64_Ehdr head;

    if (!within(size, 0, sizeof head))
        return false;
    memcpy(&head, file, sizeof head);
    if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != EM_X86_64 ||
        head.e_phentsize != sizeof(Elf64_Phdr))
        return false;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        uint64_t at = head.e_phoff + (uint64_t)i * sizeof(Elf64_Phdr);
        Elf64_Phdr segment;

        if (at < head.e_phoff || !within(size, at, sizeof segment))
            return false;
        memcpy(&segment, file + at, sizeof segment);
        if (segment.p_type == PT_NOTE && within(size, segment.p_offset, segment.p_filesz) &&
            notes_hold_entry(file + segment.p_offset, segment.p_filesz))
            return true;
    }
    return false;
}

static enum kage_kernel_kind judge(const unsigned char *file, size_t size)
{
    if (within(size, 0, SELFMAG) && !memcmp(file, ELFMAG, SELFMAG))
        return elf_has_entry(file, size) ? KAGE_KERNEL_PVH : KAGE_KERNEL_ELF;
    if (within(size, BZIMAGE_MAGIC_AT, 4) && !memcmp(file + BZIMAGE_MAGIC_AT, "HdrS", 4))
        return KAGE_KERNEL_BZIMAGE;
    return KAGE_KERNEL_OTHER;
}

int kage_kernel_kind(const char *path, enum kage_kernel_kind *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map;

    if (fd < 0 || fstat(fd, &st) < 0)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read the kernel %s", path);
    if (!st.st_size)
        return kage_error_set(err, KAGE_CLASS_IMAGE, "the kernel %s is empty", path);
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read the kernel %s", path);
    *ret = judge(map, (size_t)st.st_size);
    munmap(map, (size_t)st.st_size);
    return 0;
}

int kage_kernel_require(const char *path, enum kage_arch arch, enum kage_kernel_kind *ret,
                        struct kage_error *err)
{
    if (kage_kernel_kind(path, ret, err) < 0)
        return -1;
    if (*ret != KAGE_KERNEL_ELF || arch == KAGE_ARCH_AARCH64)
        return 0;
    return kage_error_set(err, KAGE_CLASS_IMAGE,
                          "the kernel %s is an ELF file without a PVH entry point (it was built "
                          "without CONFIG_PVH); give its bzImage instead",
                          path);
}

/* Leaves KERNELS/DIGEST/kernel behind; empty if this kernel has no other form to offer. */
static int unpack(struct kage_store *store, const char *path, const char *folder,
                  kage_image_progress *progress, void *user, struct kage_error *err)
{
    struct kage_builder builder = {0};
    KAGE_CLEANUP(kage_freep) char *work = NULL, *output = NULL, *program = NULL;
    enum kage_kernel_kind kind = KAGE_KERNEL_OTHER;
    int r = -1;

    if (kage_builder_find(&builder, err) < 0)
        return -1;
    kage_store_prune(store->kernels, NULL, folder);
    work = kage_store_workplace(store->kernels, err);
    if (work) {
        output = kage_asprintf("%s/kernel", work);
        program = kage_asprintf("%s/unpack-kernel", builder.scripts);
        const char *const argv[] = {program, path, output, NULL};
        if (progress)
            progress("unpacking the kernel", user);
        if (kage_builder_run(argv, progress, user, NULL) < 0 ||
            kage_kernel_kind(output, &kind, NULL) < 0 || kind != KAGE_KERNEL_PVH) {
            KAGE_CLEANUP(kage_closep)
            int fd = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

            r = fd < 0 ? kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot write %s", output)
                       : 0;
        } else {
            r = 0;
        }
        if (r == 0)
            r = kage_store_commit(work, folder, err);
        if (r < 0)
            kage_store_remove(work, NULL);
    }
    kage_builder_done(&builder);
    return r;
}

static bool usable(const char *path, bool *ret_empty)
{
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    *ret_empty = st.st_size == 0;
    return true;
}

char *kage_kernel_prepare(struct kage_store *store, const char *path, enum kage_arch arch,
                          const char *sha256, kage_image_progress *progress, void *user,
                          struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *folder = kage_asprintf("%s/%s", store->kernels, sha256);
    KAGE_CLEANUP(kage_freep) char *unpacked = kage_asprintf("%s/kernel", folder);
    enum kage_kernel_kind kind = KAGE_KERNEL_OTHER;
    bool empty = true;
    int r = 0;

    if (kage_kernel_require(path, arch, &kind, err) < 0)
        return NULL;
    if (kind != KAGE_KERNEL_BZIMAGE)
        return kage_strdup(path);
    if (!usable(unpacked, &empty)) {
        if (kage_store_lock(store, progress, user, err) < 0)
            return NULL;
        if (!usable(unpacked, &empty))
            r = unpack(store, path, folder, progress, user, err);
        kage_store_unlock(store);
    }
    if (r < 0)
        return NULL;
    kage_store_touch(folder);
    return usable(unpacked, &empty) && !empty ? KAGE_TAKE(unpacked) : kage_strdup(path);
}
