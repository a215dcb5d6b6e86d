#include "guest/root.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "guest/disk.h"
#include "guest/guest.h"
#include "guest/modules.h"
#include "guest/refusal.h"

#define IMAGE "/image"
#define LOWER "/lower"
#define UPPER "/upper"
#define LAYERS "lowerdir=" LOWER ",upperdir=" UPPER "/files,workdir=" UPPER "/work"

/* The value of a word "name=value" of the kernel's command line; NULL when it is not there. */
static char *command_line_value(const struct kage_guest *guest, const char *name)
{
    KAGE_CLEANUP(kage_closep) int fd = openat(guest->proc_fd, "cmdline", O_RDONLY | O_CLOEXEC);
    char line[4097]; /* COMMAND_LINE_SIZE is 2048 on x86 and arm64, 4096 at most elsewhere */
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    char *save = NULL;
    size_t len = strlen(name);

    line[n > 0 ? n : 0] = '\0';
    for (char *w = strtok_r(line, " \n", &save); w; w = strtok_r(NULL, " \n", &save))
        if (!strncmp(w, name, len) && w[len] == '=')
            return kage_strdup(w + len + 1);
    return NULL;
}

static int make_folder(const char *path, struct kage_error *err)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot make %s", path);
    return 0;
}

static int mount_disk(const struct kage_guest *guest, const char *serial, const char *target,
                      struct kage_error *err)
{
    struct kage_refusal why = {0};
    KAGE_CLEANUP(kage_closep) int mnt = kage_disk_mount_system(guest, serial, &why);

    if (mnt < 0) {
        kage_error_set(err, KAGE_CLASS_IMAGE, "%s", why.message);
        kage_refusal_done(&why);
        return -1;
    }
    kage_modules_want(guest, "overlay");
    if (make_folder(LOWER, err) < 0 || make_folder(UPPER, err) < 0)
        return -1;
    if (move_mount(mnt, "", AT_FDCWD, LOWER, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
        mount("tmpfs", UPPER, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot mount the layers");
    if (make_folder(UPPER "/files", err) < 0 || make_folder(UPPER "/work", err) < 0)
        return -1;
    if (mount("image", target, "overlay", MS_NOSUID | MS_NODEV, LAYERS) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot lay memory over the image");
    return 0;
}

int kage_root_mount(const struct kage_guest *guest, const char *target, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *serial = command_line_value(guest, "kage.root");

    if (make_folder(target, err) < 0)
        return -1;
    if (serial)
        return mount_disk(guest, serial, target, err);
    if (mount(IMAGE, target, NULL, MS_BIND, NULL) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot use %s as the root", IMAGE);
    return 0;
}
