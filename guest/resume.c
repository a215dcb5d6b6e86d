#include "guest/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/proto/message.h"
#include "guest/files.h"
#include "guest/guest.h"
#include "guest/refusal.h"

/* 256 bits are what the kernel's generator is keyed with; more is welcome. */
#define ENTROPY_MIN 32
#define ENTROPY_MAX 4096

#define MACHINE_ID "/etc/machine-id"

/* Credits the bytes and makes the kernel draw a new key from them at once: without RNDRESEEDCRNG
 * it would go on with the template's key for up to a minute (random(4)). */
static int reseed(const struct kage_guest *guest, const char *bytes, size_t len)
{
    struct rand_pool_info *pool = kage_alloc(sizeof *pool + len);
    int fd = guest->random_fd;
    int r, e;

    errno = ENODEV;
    pool->entropy_count = (int)len * 8;
    pool->buf_size = (int)len;
    memcpy(pool->buf, bytes, len);
    r = fd < 0 || ioctl(fd, RNDADDENTROPY, pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0 ? -1 : 0;
    e = errno;
    explicit_bzero(pool, sizeof *pool + len);
    free(pool);
    errno = e;
    return r;
}

static void put_hex(char *to, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    *to = '\0';
}

/* A restored machine does this before anything else, and whatever it does for the first time is
 * slow: so the file is kept open, and written over in place while it is still the one that has the
 * name. */
static bool write_over(const struct kage_guest *guest, const char *id)
{
    struct stat st, named;

    if (guest->machine_id_fd < 0)
        return false;
    /* Once there were commands or mounts, the name may mean something else. */
    if ((guest->last_handle || guest->mounts) &&
        (fstat(guest->machine_id_fd, &st) < 0 || lstat(MACHINE_ID, &named) < 0 ||
         st.st_dev != named.st_dev || st.st_ino != named.st_ino || st.st_size != (off_t)strlen(id)))
        return false;
    return pwrite(guest->machine_id_fd, id, strlen(id), 0) == (ssize_t)strlen(id);
}

void kage_renew_identity(struct kage_guest *guest)
{
    unsigned char random[32];
    char id[34];
    struct kage_refusal ignored = {0};

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return;
    put_hex(guest->boot_id, random, 16);
    if (!guest->machine)
        return;
    put_hex(id, random + 16, 16);
    strcat(id, "\n");
    if (write_over(guest, id))
        return;
    kage_closep(&guest->machine_id_fd);
    /* An image without /etc can do without it. */
    if (kage_file_write(MACHINE_ID, id, strlen(id), 0444, KAGE_RPC_INTERNAL, &ignored) == 0)
        guest->machine_id_fd = open(MACHINE_ID, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    kage_refusal_done(&ignored);
}

int kage_resume(struct kage_guest *guest, const struct kage_msg *m, struct kage_refusal *why)
{
    struct timespec now = {.tv_sec = m->resume.time_us / 1000000,
                           .tv_nsec = (m->resume.time_us % 1000000) * 1000};

    if (m->resume.entropy_len < ENTROPY_MIN || m->resume.entropy_len > ENTROPY_MAX)
        return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0,
                           "field 'entropy' must hold %d to %d bytes", ENTROPY_MIN, ENTROPY_MAX);
    if (!guest->machine)
        return kage_refuse(why, KAGE_RPC_INVALID_REQUEST, EPERM, "vmd runs on a host");
    if (clock_settime(CLOCK_REALTIME, &now) < 0)
        return kage_refuse(why, KAGE_RPC_INTERNAL, errno, "cannot set the clock");
    if (reseed(guest, m->resume.entropy, m->resume.entropy_len) < 0)
        return kage_refuse(why, KAGE_RPC_INTERNAL, errno, "cannot reseed the random numbers");
    kage_renew_identity(guest);
    return 0;
}
