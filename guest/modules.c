#include "guest/modules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "guest/guest.h"

static int load(int root_fd, const char *path, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot open the module %s", path);
    if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot load the module %s", path);
    return 0;
}

int kage_modules_load(int root_fd, const char *list, struct kage_error *err)
{
    int fd = openat(root_fd, list, O_RDONLY | O_CLOEXEC);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
    char line[512];
    int r = 0;

    if (!f) {
        kage_closep(&fd);
        return 0;
    }
    while (fgets(line, sizeof line, f)) {
        const char *path = line + strspn(line, "/");

        line[strcspn(line, "\n")] = '\0';
        /* The first failure is the cause of those that follow from it. */
        if (*path && load(root_fd, path, r == 0 ? err : NULL) < 0)
            r = -1;
    }
    fclose(f);
    return r;
}

/* A list that has been gone through is removed: the kernel reads a module whole before it notices
 * that it has it. */
void kage_modules_want(const struct kage_guest *guest, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *list = kage_asprintf("kage/modules.d/%s", name);
    struct kage_error err = KAGE_ERROR_INIT;

    if (guest->initramfs_fd < 0)
        return;
    if (kage_modules_load(guest->initramfs_fd, list, &err) < 0)
        kage_error_done(&err);
    unlinkat(guest->initramfs_fd, list, 0);
}

/* Device numbers of the virtio specification, chapter 5. */
#define VIRTIO_ID_NET 1
static const struct {
    long id;
    const char *list;
} device_lists[] = {{VIRTIO_ID_NET, "virtio_net"}, {2, "virtio_blk"}, {9, "9p"}};

/* Calls fn with the kind of every virtio device. */
static void for_each_device(const struct kage_guest *guest,
                            void (*fn)(const struct kage_guest *guest, long id, void *user),
                            void *user)
{
    int fd = openat(guest->sys_fd, "bus/virtio/devices", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        kage_closep(&fd);
        return;
    }
    while ((e = readdir(d))) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/device", e->d_name);
        KAGE_CLEANUP(kage_closep) int file = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC);
        char text[16] = {0};

        if (file >= 0 && read(file, text, sizeof text - 1) > 0)
            fn(guest, strtol(text, NULL, 16), user);
    }
    closedir(d);
}

static void want_for_device(const struct kage_guest *guest, long id, void *user)
{
    for (size_t i = 0; i < sizeof device_lists / sizeof *device_lists; i++)
        if (id == device_lists[i].id)
            kage_modules_want(guest, device_lists[i].list);
}

void kage_modules_want_for_devices(const struct kage_guest *guest)
{
    for_each_device(guest, want_for_device, NULL);
}

static void note_network(const struct kage_guest *guest, long id, void *user)
{
    *(bool *)user |= id == VIRTIO_ID_NET;
}

bool kage_modules_has_network_card(const struct kage_guest *guest)
{
    bool has = false;

    for_each_device(guest, note_network, &has);
    return has;
}
