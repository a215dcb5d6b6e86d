#include "guest/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
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
static int reseed(const char *bytes, size_t len)
{
    struct rand_pool_info *pool = kage_alloc(sizeof *pool + len);
    KAGE_CLEANUP(kage_closep) int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int r, e;

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

void kage_renew_identity(struct kage_guest *guest)
{
    unsigned char random[32];
    char id[34];
    KAGE_CLEANUP(kage_closep) int fd = -1;
    struct stat st;
    struct kage_refusal ignored = {0};

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return;
    for (int i = 0; i < 16; i++) {
        snprintf(guest->boot_id + 2 * i, 3, "%02x", random[i]);
        snprintf(id + 2 * i, 3, "%02x", random[16 + i]);
    }
    if (!guest->machine)
        return;
    strcat(id, "\n");
    /* One that is there is written over in place: a restored machine does this before anything
     * else, and making a file takes ten times as long. */
    fd = open(MACHINE_ID, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == (off_t)strlen(id) &&
        pwrite(fd, id, strlen(id), 0) == (ssize_t)strlen(id))
        return;
    /* An image without /etc can do without it. */
    kage_file_write(MACHINE_ID, id, strlen(id), 0444, KAGE_RPC_INTERNAL, &ignored);
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
    if (reseed(m->resume.entropy, m->resume.entropy_len) < 0)
        return kage_refuse(why, KAGE_RPC_INTERNAL, errno, "cannot reseed the random numbers");
    kage_renew_identity(guest);
    return 0;
}
