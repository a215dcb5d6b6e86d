#include "guest/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/proto/message.h"
#include "guest/guest.h"
#include "guest/refusal.h"

/* A socket belongs to the network namespace it was made in, so vmd is there only for the one call.
 * -1 with errno. */
static int socket_in(const struct kage_guest *guest, int net_fd, int family)
{
    KAGE_CLEANUP(kage_closep)
    int own = openat(guest->proc_fd, "self/ns/net", O_RDONLY | O_CLOEXEC);
    int fd, errnum;

    if (own < 0 || setns(net_fd, CLONE_NEWNET) < 0)
        return -1;
    fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    errnum = errno;
    /* Nothing that vmd does would be right in another's network. */
    if (setns(own, CLONE_NEWNET) < 0)
        _exit(1);
    errno = errnum;
    return fd;
}

/* On loopback a connection is made or refused within the call; one that is neither found the
 * backlog full, and its server is not ready. */
static int try_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int errnum = 0;
    socklen_t size = sizeof errnum;

    if (connect(fd, address, len) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (poll(&p, 1, 0) != 1)
        return EAGAIN;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size) < 0 ? errno : errnum;
}

static int probe_family(const struct kage_guest *guest, int net_fd, int family, uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    KAGE_CLEANUP(kage_closep)
    int fd = net_fd >= 0 ? socket_in(guest, net_fd, family)
                         : socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return errno;
    return family == AF_INET ? try_connect(fd, (struct sockaddr *)&in, sizeof in)
                             : try_connect(fd, (struct sockaddr *)&in6, sizeof in6);
}

static int probe_port(const struct kage_guest *guest, const struct kage_msg *m,
                      struct kage_refusal *why)
{
    uint16_t port = (uint16_t)m->probe.port;
    bool open = m->probe.network;
    int net_fd = open && guest->open_net_fd >= 0 ? guest->open_net_fd : guest->quiet_net_fd;
    int errnum;

    /* As commands are started: where vmd is no PID 1, those with network have the host's. */
    if (open && !guest->machine)
        net_fd = -1;
    else if (net_fd < 0)
        return kage_refuse(why, KAGE_RPC_INTERNAL, 0, "commands share no network here");
    errnum = probe_family(guest, net_fd, AF_INET, port);
    if (errnum && probe_family(guest, net_fd, AF_INET6, port) == 0)
        errnum = 0;
    return errnum ? kage_refuse(why, KAGE_RPC_INVALID_REQUEST, errnum,
                                "port %u takes no connection", port)
                  : 0;
}

static int probe_path(const char *path, struct kage_refusal *why)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
    KAGE_CLEANUP(kage_closep) int fd = -1;

    if (path[0] != '/')
        return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0, "field 'path' must be absolute");
    fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    return fd < 0 ? kage_refuse(why, KAGE_RPC_INVALID_REQUEST, errno, "there is no '%s'", path) : 0;
}

int kage_probe(const struct kage_guest *guest, const struct kage_msg *m, struct kage_refusal *why)
{
    if ((m->probe.port == KAGE_UNSET) == (m->probe.path == NULL))
        return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0,
                           "one of the fields 'port' and 'path' must be there");
    return m->probe.path ? probe_path(m->probe.path, why) : probe_port(guest, m, why);
}
