/*
 * The other end of "raw TCP" in the throughput rows: process 1 of a bare guest that sends or takes
 * bytes over one connection, with no protocol and no second process around it. It comes up as a
 * guest of `kage start` does (the same modules, the same interface) and writes chunks of the same
 * size.
 *
 * A connection says "S n\n" (send me n bytes), "R n\n" (read n bytes, then answer one byte) or
 * "Q 0\n" (the end). Built with: cc -O2 -static -D_GNU_SOURCE
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHUNK (64 * 1024) /* KAGE_CHUNK_MAX */
#define PORT 8080

static char data[CHUNK];

static void load_modules(const char *path)
{
    FILE *list = fopen(path, "re");
    char line[512];

    while (list && fgets(line, sizeof line, list)) {
        int fd;

        line[strcspn(line, "\n")] = '\0';
        fd = open(line, O_RDONLY); /* from /, where process 1 begins */
        if (fd >= 0)
            syscall(SYS_finit_module, fd, "", 0);
    }
}

static void set_address(struct ifreq *r, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};

    inet_pton(AF_INET, text, &in.sin_addr);
    memcpy(&r->ifr_addr, &in, sizeof in);
}

static void bring_up(const char *name, const char *address)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq r = {0};

    strcpy(r.ifr_name, name);
    set_address(&r, address);
    ioctl(fd, SIOCSIFADDR, &r);
    set_address(&r, "255.255.255.0");
    ioctl(fd, SIOCSIFNETMASK, &r);
    ioctl(fd, SIOCGIFFLAGS, &r);
    r.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
        perror(name);
    close(fd);
}

static void serve(int fd)
{
    char request[64] = {0};
    long long left;
    ssize_t n = 1;

    for (size_t at = 0; at < sizeof request - 1; at++)
        if (read(fd, request + at, 1) != 1 || request[at] == '\n')
            break;
    left = atoll(request + 1);
    if (request[0] == 'Q')
        reboot(RB_AUTOBOOT);
    for (; left > 0 && n > 0; left -= n) {
        size_t chunk = left < CHUNK ? (size_t)left : CHUNK;

        n = request[0] == 'S' ? write(fd, data, chunk) : read(fd, data, chunk);
    }
    if (request[0] == 'R' && write(fd, "k", 1) < 0)
        perror("write");
    close(fd);
}

int main(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    load_modules("/kage/modules");
    load_modules("/kage/modules.d/virtio_net");
    bring_up("lo", "127.0.0.1");
    bring_up("eth0", "10.0.2.15");
    if (bind(fd, (struct sockaddr *)&in, sizeof in) < 0 || listen(fd, 5) < 0)
        perror("listen");
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    dprintf(open("/dev/console", O_WRONLY), "READY\n");
    for (;;)
        serve(accept(fd, NULL, NULL));
}
