#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "image_id.h"
#include "runner/image/builder.h"
#include "runner/image/digest.h"
#include "runner/image/image.h"
#include "runner/image/kernel.h"
#include "runner/image/manifest.h"
#include "runner/image/rootfs.h"
#include "runner/image/store.h"
#include "runner/image/verified.h"

static char folder[] = "/tmp/kage-test-image-XXXXXX";

static int make_folder(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    return setenv("XDG_CACHE_HOME", folder, 1);
}

static int remove_folder(void **state)
{
    return kage_store_remove(folder, NULL);
}

static char *in_folder(const char *name)
{
    return kage_asprintf("%s/%s", folder, name);
}

static void put(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void puts_file(const char *path, const char *text)
{
    put(path, text, strlen(text));
}

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* ---- digests ---- */

/* FIPS 180-2, appendix B, and the empty message. */
static void test_sha256(void **state)
{
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    KAGE_CLEANUP(kage_freep) char *path = in_folder("text");

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char hex[KAGE_SHA256_HEX + 1];

        puts_file(path, cases[i].text);
        assert_int_equal(kage_sha256_file(path, hex, NULL), 0);
        assert_string_equal(hex, cases[i].hex);
    }
}

/* ---- the store ---- */

static void test_store_is_private(void **state)
{
    KAGE_CLEANUP(kage_freep) char *root = in_folder("kage");
    struct kage_store store = KAGE_STORE_INIT;
    struct stat st;

    assert_int_equal(kage_store_open(&store, NULL), 0);
    assert_int_equal(chmod(root, 0755), 0);
    kage_store_done(&store);
    assert_int_equal(kage_store_open(&store, NULL), 0);
    assert_int_equal(stat(root, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(store.images, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    kage_store_done(&store);
}

static void refuse_foreign_store(void)
{
    struct kage_store store = KAGE_STORE_INIT;
    struct kage_error err = KAGE_ERROR_INIT;
    KAGE_CLEANUP(kage_freep) char *foreign = in_folder("foreign");
    KAGE_CLEANUP(kage_freep) char *root = in_folder("foreign/kage");

    assert_int_equal(mkdir(foreign, 0777), 0);
    assert_int_equal(mkdir(root, 0777), 0);
    assert_int_equal(chown(root, 4711, 4711), 0);
    setenv("XDG_CACHE_HOME", foreign, 1);
    assert_int_equal(kage_store_open(&store, &err), -1);
    assert_int_equal(err.class, KAGE_CLASS_IMAGE);
    assert_non_null(strstr(err.message, "belongs to another user (uid 4711)"));
    kage_error_done(&err);
    setenv("XDG_CACHE_HOME", folder, 1);
}

static void test_store_of_someone_else(void **state)
{
    if (geteuid() != 0)
        skip(); /* only root can give a folder away */
    refuse_foreign_store();
}

static void test_store_without_home(void **state)
{
    KAGE_CLEANUP(kage_freep) char *file = in_folder("file");
    struct kage_store store = KAGE_STORE_INIT;
    struct kage_error err = KAGE_ERROR_INIT;

    puts_file(file, "x");
    setenv("XDG_CACHE_HOME", file, 1);
    assert_int_equal(kage_store_open(&store, &err), -1);
    assert_int_equal(err.class, KAGE_CLASS_IMAGE);
    kage_error_done(&err);
    setenv("XDG_CACHE_HOME", folder, 1);
}

static void test_commit_replaces(void **state)
{
    KAGE_CLEANUP(kage_freep) char *place = in_folder("place");
    KAGE_CLEANUP(kage_freep) char *old = in_folder("place/old");
    KAGE_CLEANUP(kage_freep) char *new = in_folder("place/new");

    assert_int_equal(mkdir(place, 0700), 0);
    puts_file(old, "old");
    KAGE_CLEANUP(kage_freep) char *work = kage_store_workplace(folder, NULL);
    KAGE_CLEANUP(kage_freep) char *file = kage_asprintf("%s/new", work);
    puts_file(file, "new");
    assert_int_equal(kage_store_commit(work, place, NULL), 0);
    assert_true(exists(new));
    assert_false(exists(old));
    assert_false(exists(work));
}

static void test_remove_keeps_to_links(void **state)
{
    KAGE_CLEANUP(kage_freep) char *kept = in_folder("kept");
    KAGE_CLEANUP(kage_freep) char *file = in_folder("kept/file");
    KAGE_CLEANUP(kage_freep) char *gone = in_folder("gone");
    KAGE_CLEANUP(kage_freep) char *link = in_folder("gone/link");

    assert_int_equal(mkdir(kept, 0700), 0);
    puts_file(file, "x");
    assert_int_equal(mkdir(gone, 0700), 0);
    assert_int_equal(symlink(kept, link), 0);
    assert_int_equal(kage_store_remove(gone, NULL), 0);
    assert_false(exists(gone));
    assert_true(exists(file));
    assert_int_equal(kage_store_remove(gone, NULL), 0);
}

static void make_aged(const char *parent, const char *name, int hours)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", parent, name);
    struct timespec times[2] = {{.tv_sec = time(NULL) - hours * 3600}};

    times[1] = times[0];
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_prune(void **state)
{
    static const struct {
        const char *name;
        int hours;
        bool stays;
    } cases[] = {
        {"tiny-00000000000000aa", 999, true},
        {"tiny-00000000000000bb", 0, true},
        {"tiny-00000000000000cc", 24, true},
        {"tiny-00000000000000dd", 48, true},
        {"tiny-00000000000000ee", 72, false},
        {"tiny-00000000000000ff", 999, false},
        {"other", 999, true},
        {"tiny-two-00000000000000aa", 999, true},
        {".new-abc", 0, false},
    };
    KAGE_CLEANUP(kage_freep) char *store = in_folder("pruned");
    KAGE_CLEANUP(kage_freep) char *keep = in_folder("pruned/tiny-00000000000000aa");

    assert_int_equal(mkdir(store, 0700), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        make_aged(store, cases[i].name, cases[i].hours);
    kage_store_prune(store, "tiny", keep);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", store, cases[i].name);

        assert_int_equal(exists(path), cases[i].stays);
    }
}

/* ---- manifests ---- */

#define HEX64 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void test_manifest(void **state)
{
    KAGE_CLEANUP(kage_freep) char *image = in_folder("image");
    KAGE_CLEANUP(kage_freep) char *text = in_folder("image/manifest.json");
    KAGE_CLEANUP(kage_freep) char *kernel = in_folder("image/kernel");
    KAGE_CLEANUP(kage_freep) char *initrd = in_folder("image/initrd");
    static const char good[] = "{\"name\":\"tiny\",\"arch\":\"x86_64\",\"packages\":\"a=1\","
                               "\"kernel\":{\"size\":3,\"sha256\":\"" HEX64 "\"},"
                               "\"initrd\":{\"size\":3,\"sha256\":\"" HEX64 "\"}}";
    struct kage_manifest m = {0};
    struct kage_error err = KAGE_ERROR_INIT;

    assert_int_equal(mkdir(image, 0700), 0);
    assert_int_equal(kage_manifest_read(image, &m, NULL), -1);
    puts_file(kernel, "abc");
    puts_file(initrd, "abc");
    puts_file(text, good);
    assert_int_equal(kage_manifest_read(image, &m, NULL), 0);
    assert_string_equal(m.packages, "a=1");
    assert_int_equal(m.kernel.size, 3);
    assert_int_equal(kage_manifest_verify(image, &m, NULL), 0);

    puts_file(initrd, "abd"); /* a flipped bit */
    assert_int_equal(kage_manifest_verify(image, &m, &err), -1);
    assert_int_equal(err.class, KAGE_CLASS_IMAGE);
    kage_error_done(&err);
    kage_manifest_done(&m);
    puts_file(initrd, "ab"); /* cut short: noticed without reading it */
    assert_int_equal(kage_manifest_read(image, &m, NULL), -1);
    puts_file(initrd, "abc");
    for (size_t cut = 0; cut < sizeof good - 1; cut++) {
        put(text, good, cut);
        assert_int_equal(kage_manifest_read(image, &m, NULL), -1);
    }
}

/* ---- kernels ---- */

/* The smallest ELF file with a note: header, one program header, then the note. */
struct elf_file {
    Elf64_Ehdr head;
    Elf64_Phdr segment;
    Elf64_Nhdr note;
    char name[4];
    uint32_t entry;
};

static struct elf_file elf_file(uint32_t note_type)
{
    return (struct elf_file){
        .head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                             EV_CURRENT},
                 .e_machine = EM_X86_64,
                 .e_phoff = offsetof(struct elf_file, segment),
                 .e_phentsize = sizeof(Elf64_Phdr),
                 .e_phnum = 1},
        .segment = {.p_type = PT_NOTE,
                    .p_offset = offsetof(struct elf_file, note),
                    .p_filesz = sizeof(struct elf_file) - offsetof(struct elf_file, note)},
        .note = {.n_namesz = 4, .n_descsz = 4, .n_type = note_type},
        .name = "Xen",
    };
}

static enum kage_kernel_kind kind_of(const void *data, size_t len)
{
    KAGE_CLEANUP(kage_freep) char *path = in_folder("kernel");
    enum kage_kernel_kind kind = KAGE_KERNEL_KIND_COUNT;

    put(path, data, len);
    assert_int_equal(kage_kernel_kind(path, &kind, NULL), 0);
    return kind;
}

static void test_kernel_kinds(void **state)
{
    struct elf_file pvh = elf_file(18), other = elf_file(6);
    char bzimage[1024] = {0};

    memcpy(bzimage + 0x202, "HdrS", 4);
    assert_int_equal(kind_of(&pvh, sizeof pvh), KAGE_KERNEL_PVH);
    assert_int_equal(kind_of(&other, sizeof other), KAGE_KERNEL_ELF);
    assert_int_equal(kind_of(bzimage, sizeof bzimage), KAGE_KERNEL_BZIMAGE);
    assert_int_equal(kind_of("MZ", 2), KAGE_KERNEL_OTHER);
    assert_int_equal(kind_of("", 1), KAGE_KERNEL_OTHER);
}

/* No file may lead outside itself; the sanitizers watch. */
static void test_kernel_hostile_elf(void **state)
{
    static const uint64_t values[] = {0, 1, 0x7f, 0xff, 0xffff, 0x7fffffff, 0xffffffff, ~0ull};
    struct elf_file good = elf_file(18);

    for (size_t cut = 4; cut < sizeof good; cut++)
        kind_of(&good, cut);
    for (size_t at = 8; at + 8 <= sizeof good; at += 2)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            struct elf_file bad = good;

            memcpy((char *)&bad + at, &values[i], 8);
            kind_of(&bad, sizeof bad);
        }
}

/* ---- what builders are run with ---- */

struct told {
    struct kage_buf text;
};

static void tell(const char *what, void *user)
{
    struct told *told = user;

    kage_buf_addf(&told->text, "[%s]", what);
}

static int run_script(const char *script, struct told *told, struct kage_error *err)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};

    return kage_builder_run(argv, tell, told, err);
}

static void test_builder_run(void **state)
{
    struct told told = {0};
    struct kage_error err = KAGE_ERROR_INIT;

    assert_int_equal(run_script("echo one >&3; echo gone; printf 't\\033wo\\n' >&3", &told, &err),
                     0);
    assert_string_equal(told.text.data, "[one][t\\x1bwo]");
    assert_int_equal(run_script("echo first >&2; echo why >&2; exit 3", &told, &err), -1);
    assert_int_equal(err.class, KAGE_CLASS_IMAGE);
    assert_string_equal(err.message, "why (before that: first)");
    assert_int_equal(run_script("exit 1", &told, &err), -1);
    assert_string_equal(err.message, "the image builder failed and said nothing");
    assert_int_equal(run_script("kill -TERM $$", &told, &err), -1);
    assert_int_equal(err.class, KAGE_CLASS_INTERRUPTED);
    assert_int_equal(run_script("yes | head -c 10000000 >&2; echo end >&2; exit 1", &told, &err),
                     -1);
    assert_true(strlen(err.message) < 4096);
    kage_error_done(&err);
    kage_buf_done(&told.text);
}

/* ---- root file systems ---- */

static void test_rootfs_formats(void **state)
{
    static const struct {
        size_t at;
        const char *magic;
        size_t len;
        const char *format; /* NULL: refused, and … */
        const char *says;   /* … what the message holds */
    } cases[] = {
        {0, "hsqs", 4, "raw", "squashfs"},
        {1024, "\xe2\xe1\xf5\xe0", 4, "raw", "erofs"},
        {1080, "\x53\xef", 2, "raw", "ext4"},
        {0x10040, "_BHRfS_M", 8, "raw", "btrfs"},
        {512, "EFI PART", 8, "raw", "a partitioned disk"},
        {510, "\x55\xaa", 2, "raw", "a partitioned disk"},
        {0, "QFI\xfb\0\0\0\3", 8, "qcow2", "qcow2"},
        {0, "QFI\xfb\0\0\0\1", 8, NULL, "damaged qcow2"},
        {0, "QFI\xfb\0\0\0\2\0\0\0\0\0\0\0\1", 16, NULL, "backing file"},
        {0, "KDMV", 4, NULL, "qemu-img convert"},
        {0, "\x1f\x8b", 2, NULL, "gunzip"},
        {257, "ustar", 5, NULL, "a tar archive"},
        {0,
         "\x7f"
         "ELF",
         4, NULL, "a program or kernel"},
        {9999, "x", 1, NULL, "is no root file system: neither"},
    };
    KAGE_CLEANUP(kage_freep) char *path = in_folder("rootfs.img");

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kage_error err = KAGE_ERROR_INIT;
        struct kage_rootfs rootfs;
        static char bytes[0x11000];

        memset(bytes, 0, sizeof bytes);
        memcpy(bytes + cases[i].at, cases[i].magic, cases[i].len);
        put(path, bytes, sizeof bytes);
        assert_int_equal(kage_rootfs_open(path, &rootfs, &err), cases[i].format ? 0 : -1);
        if (cases[i].format) {
            assert_string_equal(rootfs.format, cases[i].format);
            assert_string_equal(rootfs.holds, cases[i].says);
            close(rootfs.fd);
        } else if (!strstr(err.message, cases[i].says)) {
            fail_msg("'%s' is not in '%s'", cases[i].says, err.message);
        }
        kage_error_done(&err);
    }
}

static void test_short_rootfs(void **state)
{
    KAGE_CLEANUP(kage_freep) char *path = in_folder("short.img");
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_rootfs rootfs;

    for (size_t len = 0; len < 9; len++) {
        put(path, "QFI\xfb\0\0\0\3", len);
        assert_int_equal(kage_rootfs_open(path, &rootfs, &err), -1);
    }
    assert_int_equal(kage_rootfs_open(folder, &rootfs, &err), -1);
    assert_non_null(strstr(err.message, "is not a file"));
    kage_error_done(&err);
}

/* A change that sets the times back is seen all the same. */
static void test_verified(void **state)
{
    KAGE_CLEANUP(kage_freep) char *path = in_folder("verified.img");
    KAGE_CLEANUP(kage_closep) int fd = -1;
    struct timespec times[2];
    struct stat st;

    puts_file(path, "abc");
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(kage_verified(fd, path, HEX64, NULL), 0);
    assert_int_equal(kage_verified(fd, path, HEX64, NULL), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pwrite(fd, "x", 1, 1), 1);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(kage_verified(fd, path, HEX64, NULL), -1);
    assert_int_equal(pwrite(fd, "b", 1, 1), 1);
    assert_int_equal(kage_verified(fd, path, HEX64, NULL), 0);
}

/* ---- resolving ---- */

static void expect_refusal(struct kage_spec_image image, const char *part)
{
    struct kage_image_files files = {0};
    struct kage_error err = KAGE_ERROR_INIT;

    image.loc = (struct kage_loc){"job.yaml", 3, 8};
    assert_int_equal(kage_image_resolve(&image, KAGE_ARCH_HOST, NULL, NULL, &files, &err), -1);
    assert_int_equal(err.class, KAGE_CLASS_IMAGE);
    assert_int_equal(err.loc.line, 3);
    if (!strstr(err.message, part))
        fail_msg("'%s' is not in '%s'", part, err.message);
    assert_null(files.kernel);
    kage_error_done(&err);
}

static void test_refusals(void **state)
{
    KAGE_CLEANUP(kage_freep) char *fifo = in_folder("fifo");
    KAGE_CLEANUP(kage_freep) char *initrd = in_folder("own-initrd");
    KAGE_CLEANUP(kage_freep) char *kernel = in_folder("own-kernel");
    struct elf_file elf = elf_file(6);

    assert_int_equal(mkfifo(fifo, 0600), 0);
    puts_file(initrd, "i");
    put(kernel, &elf, sizeof elf);
    expect_refusal((struct kage_spec_image){.form = KAGE_IMAGE_STORE, .name = (char[]){"deb\033"}},
                   "no image is named 'deb\\x1b'");
    expect_refusal((struct kage_spec_image){.form = KAGE_IMAGE_URL, .url = (char[]){"ftp://x"}},
                   "only from https");
    expect_refusal((struct kage_spec_image){.form = KAGE_IMAGE_PATH, .path = initrd},
                   "is no root file system");
    expect_refusal((struct kage_spec_image){.form = KAGE_IMAGE_KERNEL,
                                            .kernel = (char[]){"/nonexistent/k"},
                                            .initrd = initrd},
                   "cannot read the kernel '/nonexistent/k'");
    expect_refusal(
        (struct kage_spec_image){.form = KAGE_IMAGE_KERNEL, .kernel = fifo, .initrd = initrd},
        "is not a file");
    expect_refusal(
        (struct kage_spec_image){.form = KAGE_IMAGE_KERNEL, .kernel = initrd, .initrd = folder},
        "is not a file");
    expect_refusal(
        (struct kage_spec_image){.form = KAGE_IMAGE_KERNEL, .kernel = kernel, .initrd = initrd},
        "without a PVH entry point");
}

static void test_own_kernel(void **state)
{
    KAGE_CLEANUP(kage_freep) char *initrd = in_folder("own-initrd");
    KAGE_CLEANUP(kage_freep) char *kernel = in_folder("own-pvh");
    struct kage_spec_image image = {.form = KAGE_IMAGE_KERNEL, .kernel = kernel, .initrd = initrd};
    struct kage_image_files files = {0}, again = {0};
    struct elf_file elf = elf_file(18);

    puts_file(initrd, "i");
    put(kernel, &elf, sizeof elf);
    assert_int_equal(kage_image_resolve(&image, KAGE_ARCH_X86_64, NULL, NULL, &files, NULL), 0);
    assert_string_equal(files.kernel, kernel);
    assert_string_equal(files.initrd, initrd);
    assert_memory_equal(files.digest, "sha256:", 7);
    puts_file(initrd, "j");
    assert_int_equal(kage_image_resolve(&image, KAGE_ARCH_X86_64, NULL, NULL, &again, NULL), 0);
    assert_string_not_equal(files.digest, again.digest);
    kage_image_files_done(&files);
    kage_image_files_done(&again);
}

/* An image that is there is used as it is: no builder is looked for, no lock is taken. */
static void test_tiny_that_is_there(void **state)
{
    KAGE_CLEANUP(kage_freep) char *image = in_folder("kage/images/tiny-" KAGE_TINY_ID);
    KAGE_CLEANUP(kage_freep) char *kernel = kage_asprintf("%s/kernel", image);
    KAGE_CLEANUP(kage_freep) char *initrd = kage_asprintf("%s/initrd", image);
    KAGE_CLEANUP(kage_freep) char *text = kage_asprintf("%s/manifest.json", image);
    struct kage_spec_image spec = {.form = KAGE_IMAGE_STORE, .name = (char[]){"tiny"}};
    struct kage_store store = KAGE_STORE_INIT;
    struct kage_image_files files = {0};

    assert_int_equal(kage_store_open(&store, NULL), 0);
    assert_int_equal(kage_store_lock(&store, NULL, NULL, NULL), 0);
    assert_int_equal(mkdir(image, 0700), 0);
    puts_file(kernel, "abc");
    puts_file(initrd, "abc");
    puts_file(text, "{\"name\":\"tiny\",\"arch\":\"x\",\"packages\":\"a=1\","
                    "\"kernel\":{\"size\":3,\"sha256\":\"" HEX64 "\"},"
                    "\"initrd\":{\"size\":3,\"sha256\":\"" HEX64 "\"}}");
    assert_int_equal(kage_image_resolve(&spec, KAGE_ARCH_HOST, NULL, NULL, &files, NULL), 0);
    assert_string_equal(files.kernel, kernel);
    assert_string_equal(files.initrd, initrd);
    kage_image_files_done(&files);
    kage_store_done(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_store_is_private),
        cmocka_unit_test(test_store_of_someone_else),
        cmocka_unit_test(test_store_without_home),
        cmocka_unit_test(test_commit_replaces),
        cmocka_unit_test(test_remove_keeps_to_links),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_kernel_kinds),
        cmocka_unit_test(test_kernel_hostile_elf),
        cmocka_unit_test(test_builder_run),
        cmocka_unit_test(test_rootfs_formats),
        cmocka_unit_test(test_short_rootfs),
        cmocka_unit_test(test_verified),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_own_kernel),
        cmocka_unit_test(test_tiny_that_is_there),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
