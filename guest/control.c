#include "guest/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/proto/frame.h"
#include "guest/guest.h"

/* QEMU tells the kernel of the port after its driver has been loaded, in messages of their own. */
#define PORTS "class/virtio-ports"
#define TRY_EVERY_NS 1000000
#define TRIES 10000

/* The name under which the kernel lists the port ("vport0p1"). */
static bool find(const struct kage_guest *guest, char *ret, size_t size)
{
    int fd = openat(guest->sys_fd, PORTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    struct dirent *e;

    if (!d) {
        kage_closep(&fd);
        return false;
    }
    while (!found && (e = readdir(d))) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/name", e->d_name);
        KAGE_CLEANUP(kage_closep) int file = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC);
        char name[64] = {0};

        if (file < 0 || read(file, name, sizeof name - 1) <= 0)
            continue;
        name[strcspn(name, "\n")] = '\0';
        found = !strcmp(name, KAGE_CONTROL_PORT) && strlen(e->d_name) < size;
        if (found)
            strcpy(ret, e->d_name);
    }
    closedir(d);
    return found;
}

int kage_control_open(struct kage_guest *guest, struct kage_error *err)
{
    const struct timespec pause = {.tv_nsec = TRY_EVERY_NS};
    char name[64];

    for (int i = 0; i < TRIES; i++) {
        if (find(guest, name, sizeof name)) {
            guest->control_fd = openat(guest->block_fd, name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
            if (guest->control_fd >= 0)
                return 0;
            if (errno != ENOENT)
                return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot open /dev/%s", name);
        }
        nanosleep(&pause, NULL);
    }
    return kage_error_set(err, KAGE_CLASS_BOOT,
                          "there is no virtio-serial port " KAGE_CONTROL_PORT
                          "; the kernel needs CONFIG_VIRTIO_CONSOLE and CONFIG_VIRTIO_PCI");
}
