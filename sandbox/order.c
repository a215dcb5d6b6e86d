#include "sandbox/order.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { STREAMS = 3 };

/* One order in the life of a process: static, so that it needs no allocator. */
static struct {
    struct kage_sandbox_order head;
    char strings[KAGE_SANDBOX_ORDER_BYTES];
} received;
static char *words[KAGE_SANDBOX_ORDER_STRINGS + 2]; /* two lists, each with its NULL */

/* An order without streams is for those that the helper was started with. */
static int connect_streams(const struct msghdr *msg)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    int fds[STREAMS];

    if (!c)
        return 0;
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
        c->cmsg_len != CMSG_LEN(sizeof fds)) {
        errno = EPROTO;
        return -1;
    }
    memcpy(fds, CMSG_DATA(c), sizeof fds);
    for (int i = 0; i < STREAMS; i++) {
        if (dup2(fds[i], i) < 0)
            return -1;
        close(fds[i]);
    }
    return 0;
}

/* Both lists into `words`, the environment after the arguments. */
static int split(size_t len)
{
    const struct kage_sandbox_order *h = &received.head;
    size_t at = 0, n = 0;

    if (h->kind != KAGE_SANDBOX_ORDER || h->argc > KAGE_SANDBOX_ORDER_STRINGS ||
        h->envc > KAGE_SANDBOX_ORDER_STRINGS - h->argc)
        return -1;
    for (uint32_t i = 0; i < h->argc + h->envc; i++) {
        const char *end = memchr(received.strings + at, '\0', len - at);
        if (!end)
            return -1;
        if (i == h->argc)
            words[n++] = NULL;
        words[n++] = received.strings + at;
        at = (size_t)(end - received.strings) + 1;
    }
    if (h->envc == 0)
        words[n++] = NULL;
    words[n] = NULL;
    return at == len ? 0 : -1;
}

/* Whether the sandbox that was made is the one that the order is for. */
static bool fits(const struct kage_sandbox_options *made, const struct kage_sandbox_options *o)
{
    return !o->wait && !o->hostname && o->profile == made->profile && o->net == made->net &&
           o->net_fd == made->net_fd && (o->uid == 0) == (made->uid == 0);
}

int kage_order_take(const struct kage_sandbox_options *made, struct kage_sandbox_options *o,
                    struct kage_failure *f)
{
    char control[CMSG_SPACE(STREAMS * sizeof(int))] __attribute__((aligned(sizeof(size_t))));
    struct iovec iov = {&received, sizeof received};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    const char *why = NULL;
    const char *arg;
    ssize_t n;

    kage_report(made->status_fd, KAGE_SANDBOX_WAITING, 0, NULL);
    do
        n = recvmsg(made->status_fd, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return kage_failure_set(f, ECANCELED, "wait for a command");
    if (n < (ssize_t)sizeof received.head || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
        split((size_t)n - sizeof received.head) < 0)
        return kage_failure_set(f, n < 0 ? errno : EPROTO, "take the order for a command");
    if (kage_sandbox_options_parse((int)received.head.argc, words, o, &why, &arg) < 0)
        return kage_failure_set(f, EINVAL, why);
    if (!fits(made, o))
        return kage_failure_set(f, EINVAL, "do in this sandbox what the order says");
    if (connect_streams(&msg) < 0)
        return kage_failure_set(f, errno, "connect the standard streams");
    environ = words + received.head.argc + 1;
    return 0;
}
