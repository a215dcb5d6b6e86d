#include "guest/standby.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/proto/message.h"
#include "common/proto/sandbox.h"
#include "guest/guest.h"
#include "guest/launch.h"
#include "guest/process.h"
#include "guest/refusal.h"
#include "guest/users.h"

/* Nothing else is done meanwhile; it takes some milliseconds in an emulated machine. */
#define READY_WAIT_MS 10000

static void forget(struct kage_guest *guest, struct kage_standby *s)
{
    kage_closep(&s->status_fd);
    kage_closep(&s->out_fd);
    kage_closep(&s->err_fd);
    kage_cgroup_done(guest, &s->cgroup);
    *s = (struct kage_standby){0};
}

static void standby_done(struct kage_guest *guest, struct kage_standby *s)
{
    if (!s->pid)
        return;
    kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    forget(guest, s);
}

void kage_standby_reaped(struct kage_guest *guest, pid_t pid)
{
    for (int kind = 0; kind < KAGE_STANDBY_KINDS; kind++)
        if (guest->standby[kind].pid == pid)
            forget(guest, &guest->standby[kind]);
}

void kage_standby_done(struct kage_guest *guest)
{
    for (int kind = 0; kind < KAGE_STANDBY_KINDS; kind++)
        standby_done(guest, &guest->standby[kind]);
}

static int await_ready(const struct kage_standby *s, struct kage_refusal *why)
{
    struct pollfd pfd = {.fd = s->status_fd, .events = POLLIN};
    struct kage_sandbox_msg m;
    int n;

    do
        n = poll(&pfd, 1, READY_WAIT_MS);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return kage_refuse(why, KAGE_RPC_SPAWN, ETIMEDOUT, "the sandbox did not get ready");
    if (n < 0 || recv(s->status_fd, &m, sizeof m, MSG_DONTWAIT) != (ssize_t)sizeof m)
        return kage_refuse(why, KAGE_RPC_SPAWN, 0, "the sandbox ended before it was ready");
    m.text[sizeof m.text - 1] = '\0';
    if (m.kind != KAGE_SANDBOX_WAITING)
        return kage_refuse(why, KAGE_RPC_SPAWN, m.value, "cannot set up the sandbox: %s", m.text);
    return 0;
}

static int make_one(struct kage_guest *guest, bool root, uint64_t max_processes,
                    struct kage_refusal *why)
{
    struct kage_standby *s = &guest->standby[root];
    struct kage_launch l;

    if (s->pid)
        return 0;
    /* Where there is a way out, that is what the network was asked for. */
    s->net_fd = guest->open_net_fd >= 0 ? guest->open_net_fd : guest->quiet_net_fd;
    if (kage_launch_waiting(guest, root, s->net_fd, max_processes, &l, why) < 0)
        return -1;
    s->pid = l.pid;
    s->status_fd = l.status_fd;
    s->out_fd = l.out_fd;
    s->err_fd = l.err_fd;
    s->cgroup = l.cgroup;
    if (await_ready(s, why) < 0) {
        standby_done(guest, s);
        return -1;
    }
    return 0;
}

int kage_standby_make(struct kage_guest *guest, uint64_t max_processes, struct kage_refusal *why)
{
    uint64_t limit = guest->limit_processes ? max_processes : 0;

    if (!kage_processes_alive(guest))
        kage_users_remember();
    if (guest->quiet_net_fd < 0)
        return kage_refuse(why, KAGE_RPC_SPAWN, 0, "there is no network namespace to share");
    for (int kind = 0; kind < KAGE_STANDBY_KINDS; kind++)
        if (make_one(guest, kind == KAGE_STANDBY_ROOT, limit, why) < 0)
            return -1;
    return 0;
}

/* Returns how many there were. */
static uint32_t add_strings(struct kage_buf *b, char *const *list)
{
    uint32_t n = 0;

    for (; list[n]; n++)
        kage_buf_add(b, list[n], strlen(list[n]) + 1);
    return n;
}

static int send_order(int fd, const struct kage_standby_order *order)
{
    struct kage_sandbox_order head = {.kind = KAGE_SANDBOX_ORDER};
    struct kage_buf strings = {0};
    const size_t fds = 3 * sizeof *order->streams;
    char control[CMSG_SPACE(3 * sizeof *order->streams)]
        __attribute__((aligned(sizeof(size_t)))) = {0};
    struct iovec iov[2] = {{&head, sizeof head}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n = -1;

    head.argc = add_strings(&strings, order->argv);
    head.envc = add_strings(&strings, order->env);
    iov[1] = (struct iovec){strings.data, strings.len};
    if (order->streams) {
        struct cmsghdr *c;

        msg.msg_control = control;
        msg.msg_controllen = sizeof control;
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fds);
        memcpy(CMSG_DATA(c), order->streams, fds);
    }
    if (strings.len <= KAGE_SANDBOX_ORDER_BYTES &&
        head.argc + head.envc <= KAGE_SANDBOX_ORDER_STRINGS)
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    kage_buf_done(&strings);
    return n < 0 ? -1 : 0;
}

/* A program that reopens /dev/stdout needs the pipe to belong to its user. */
static int give_pipes(const struct kage_standby *s, const struct kage_standby_order *order)
{
    if (order->streams || order->root)
        return 0;
    return fchown(s->out_fd, order->uid, order->gid) < 0 ||
                   fchown(s->err_fd, order->uid, order->gid) < 0
               ? -1
               : 0;
}

int kage_standby_order(struct kage_guest *guest, const struct kage_standby_order *order,
                       struct kage_launch *ret)
{
    struct kage_standby *s = &guest->standby[order->root];

    if (!s->pid || s->net_fd != order->net_fd ||
        (order->max_processes && !guest->limit_processes) ||
        (order->max_memory && !guest->limit_memory))
        return -1;
    if (kage_cgroup_limit(guest, &s->cgroup, order->max_processes, order->max_memory) < 0 ||
        give_pipes(s, order) < 0 || send_order(s->status_fd, order) < 0) {
        standby_done(guest, s);
        return -1;
    }
    ret->pid = s->pid;
    ret->status_fd = s->status_fd;
    ret->cgroup = s->cgroup;
    if (!order->streams) {
        ret->out_fd = kage_take_fd(&s->out_fd);
        ret->err_fd = kage_take_fd(&s->err_fd);
    }
    kage_closep(&s->out_fd);
    kage_closep(&s->err_fd);
    *s = (struct kage_standby){0};
    return 0;
}
