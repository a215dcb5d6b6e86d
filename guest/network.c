#include "guest/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "guest/guest.h"
#include "guest/modules.h"

/* QEMU's user network hands out .15 to its guest and is .2 itself; the addresses are fixed here, so
 * that no DHCP exchange delays the boot. */
#define WAY_IN_ADDRESS "10.0.2.15"
#define OUTER_GATEWAY "10.0.3.2"
#define NETMASK "255.255.255.0"

/* As the plan gives them to the network cards (runner/plan/machine.c). */
static const unsigned char way_in_mac[ETH_ALEN] = {0x52, 0x54, 0x00, 0x4b, 0x41, 0x01};
static const unsigned char job_mac[ETH_ALEN] = {0x52, 0x54, 0x00, 0x4b, 0x41, 0x02};

/* The name of the interface with this address; false when there is none. */
static bool find_interface(const unsigned char *mac, char name[IFNAMSIZ])
{
    struct if_nameindex *all = if_nameindex();
    KAGE_CLEANUP(kage_closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool found = false;

    for (struct if_nameindex *i = all; i && i->if_index && !found; i++) {
        struct ifreq r = {0};

        strncpy(r.ifr_name, i->if_name, IFNAMSIZ - 1);
        found =
            ioctl(fd, SIOCGIFHWADDR, &r) == 0 && memcmp(r.ifr_hwaddr.sa_data, mac, ETH_ALEN) == 0;
        if (found)
            memcpy(name, r.ifr_name, IFNAMSIZ);
    }
    if_freenameindex(all);
    return found;
}

static void set_address(struct sockaddr *to, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};

    inet_pton(AF_INET, text, &in.sin_addr);
    memcpy(to, &in, sizeof in);
}

/* Gives the interface its address, if any, and brings it up. */
static int configure(const char *name, const char *address, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq r = {0};

    strncpy(r.ifr_name, name, IFNAMSIZ - 1);
    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot make a socket");
    if (address) {
        set_address(&r.ifr_addr, address);
        if (ioctl(fd, SIOCSIFADDR, &r) < 0)
            return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot give %s an address", name);
        set_address(&r.ifr_netmask, NETMASK);
        if (ioctl(fd, SIOCSIFNETMASK, &r) < 0)
            return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot give %s a netmask", name);
    }
    if (ioctl(fd, SIOCGIFFLAGS, &r) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "there is no interface %s", name);
    r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
    if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot bring up %s", name);
    return 0;
}

static int add_default_route(const char *gateway, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};

    set_address(&route.rt_dst, "0.0.0.0");
    set_address(&route.rt_genmask, "0.0.0.0");
    set_address(&route.rt_gateway, gateway);
    if (fd < 0 || ioctl(fd, SIOCADDRT, &route) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot set the default route");
    return 0;
}

/* The way in speaks IPv4 only. An IPv6 address of its own would have every machine that
 * was restored probe for duplicates and announce itself. */
static void turn_off_ipv6(const struct kage_guest *guest, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("sys/net/ipv6/conf/%s/disable_ipv6", name);
    KAGE_CLEANUP(kage_closep) int fd = openat(guest->proc_fd, path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "1", 1) < 0)
        return; /* it costs time, nothing else */
}

int kage_network_open_way_in(const struct kage_guest *guest, struct kage_error *err)
{
    char name[IFNAMSIZ];

    if (!find_interface(way_in_mac, name)) {
        if (kage_modules_has_network_card(guest) && !find_interface(job_mac, name))
            return kage_error_set(err, KAGE_CLASS_BOOT,
                                  "there is no driver for the network card; the kernel needs "
                                  "CONFIG_VIRTIO_NET");
        return 1;
    }
    turn_off_ipv6(guest, name);
    if (configure("lo", NULL, err) < 0)
        return -1;
    return configure(name, WAY_IN_ADDRESS, err);
}

/* There is no ioctl for this one: RTM_NEWLINK with IFLA_NET_NS_FD, see rtnetlink(7). It gets the
 * name that commands know it by on the way. */
static int move_interface(const char *name, int net_fd, struct kage_error *err)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
        struct rtattr attr;
        int fd;
        struct rtattr name_attr;
        char name[RTA_ALIGN(sizeof KAGE_NETWORK_INTERFACE)];
    } request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = RTM_NEWLINK,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .link = {.ifi_index = (int)if_nametoindex(name)},
        .attr = {.rta_len = RTA_LENGTH(sizeof(int)), .rta_type = IFLA_NET_NS_FD},
        .fd = net_fd,
        .name_attr = {.rta_len = RTA_LENGTH(sizeof KAGE_NETWORK_INTERFACE),
                      .rta_type = IFLA_IFNAME},
        .name = KAGE_NETWORK_INTERFACE,
    };
    struct {
        struct nlmsghdr head;
        struct nlmsgerr ack;
        char echo[sizeof request];
    } reply = {0};
    KAGE_CLEANUP(kage_closep)
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0 || send(fd, &request, sizeof request, 0) < 0 ||
        recv(fd, &reply, sizeof reply, 0) < (ssize_t)(sizeof reply.head + sizeof reply.ack.error))
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot move %s", name);
    if (reply.ack.error)
        return kage_error_errno(err, KAGE_CLASS_BOOT, -reply.ack.error, "cannot move %s", name);
    return 0;
}

/* A new namespace with loopback up, and with the interface `outer` unless that is NULL; vmd itself
 * is back in its own afterwards. */
static int make_namespace(const struct kage_guest *guest, const char *outer, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep)
    int own = openat(guest->proc_fd, "self/ns/net", O_RDONLY | O_CLOEXEC);
    int made = -1, r;

    if (own < 0 || unshare(CLONE_NEWNET) < 0)
        return kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot make a network namespace");
    made = openat(guest->proc_fd, "self/ns/net", O_RDONLY | O_CLOEXEC);
    r = made < 0 ? kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot open a namespace")
                 : configure("lo", NULL, err);
    if (r == 0 && outer) {
        if (setns(own, CLONE_NEWNET) < 0)
            r = kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot return to a namespace");
        else if ((r = move_interface(outer, made, err)) == 0 && setns(made, CLONE_NEWNET) < 0)
            r = kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot enter a namespace");
        if (r == 0 && (r = configure(KAGE_NETWORK_INTERFACE, KAGE_NETWORK_ADDRESS, err)) == 0)
            r = add_default_route(OUTER_GATEWAY, err);
    }
    if (setns(own, CLONE_NEWNET) < 0)
        r = kage_error_errno(err, KAGE_CLASS_BOOT, errno, "cannot return to a namespace");
    if (r == 0)
        return made;
    kage_closep(&made);
    return -1;
}

int kage_network_make_namespaces(struct kage_guest *guest, struct kage_error *err)
{
    char name[IFNAMSIZ];

    guest->quiet_net_fd = make_namespace(guest, NULL, err);
    if (guest->quiet_net_fd < 0)
        return -1;
    if (!guest->machine || !find_interface(job_mac, name))
        return 0;
    guest->open_net_fd = make_namespace(guest, name, err);
    return guest->open_net_fd < 0 ? -1 : 0;
}
