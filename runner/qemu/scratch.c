#include "runner/qemu/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/image/builder.h"

/*
 * The file system is made on the host, where it takes 5 ms. No journal and no
 * checksums: nothing of it outlives the machine. Discarding first makes mke2fs
 * see that the file is all zeros, so that neither it nor the guest's kernel
 * writes out empty inode tables. The identity is fixed, so that a machine that
 * is restored finds the disk it knew.
 */
#define FEATURES "^has_journal,^resize_inode,^metadata_csum,uninit_bg"
#define IDENTITY "6b616765-0000-4000-8000-736372617463"
#define EXTRA "discard,root_owner=0:0,hash_seed=" IDENTITY

/* Users other than root seldom have these in their PATH. */
static const char *const programs[] = {"/usr/sbin/mke2fs", "/sbin/mke2fs",
                                       "/usr/local/sbin/mke2fs"};

/* What the child opens the disk by anew: well above the descriptors that kage_builder_run() gives
 * its child. */
#define CHILD_FD_MIN 10

static int format(int disk, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = fcntl(disk, F_DUPFD, CHILD_FD_MIN);
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("/proc/self/fd/%d", fd);
    const char *argv[] = {NULL, "-q",     "-F", "-t",     "ext4", "-b",  "4096", "-m", "0",
                          "-O", FEATURES, "-U", IDENTITY, "-E",   EXTRA, path,   NULL};
    int r;

    for (size_t i = 0; i < sizeof programs / sizeof *programs && !argv[0]; i++)
        if (access(programs[i], X_OK) == 0)
            argv[0] = programs[i];
    if (!argv[0])
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "a scratch disk needs mke2fs, which is not there; install e2fsprogs");
    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot hand the scratch disk over");
    r = kage_builder_run(argv, NULL, NULL, err);
    if (r < 0 && err && err->class == KAGE_CLASS_IMAGE)
        err->class = KAGE_CLASS_HOST;
    return r < 0 ? kage_error_wrap(err, "cannot make the file system of the scratch disk") : 0;
}

const char *kage_scratch_folder(void)
{
    const char *folder = getenv("TMPDIR");

    return folder && *folder == '/' ? folder : "/var/tmp";
}

int kage_scratch_file(uint64_t size, int *ret_fd, struct kage_error *err)
{
    const char *folder = kage_scratch_folder();
    KAGE_CLEANUP(kage_closep) int fd = -1;

    fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make the scratch disk in %s",
                                folder);
    *ret_fd = kage_take_fd(&fd);
    return 0;
}

int kage_scratch_make(uint64_t size, int *ret_fd, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = -1;

    if (kage_scratch_file(size, &fd, err) < 0 || format(fd, err) < 0)
        return -1;
    *ret_fd = kage_take_fd(&fd);
    return 0;
}
