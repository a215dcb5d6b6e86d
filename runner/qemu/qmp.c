#include "runner/qemu/qmp.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/loop/loop.h"

/* A reply longer than this is not one of those kage asks for. */
#define LINE_MAX_BYTES (1024u * 1024u)

struct pending {
    struct pending *next;
    kage_qmp_fn fn;
    void *user;
};

struct kage_qmp {
    int fd;
    struct kage_watch *watch;
    const struct kage_qmp_handler *handler;
    void *user;
    struct kage_buf rx;
    struct pending *first, **last;
    bool greeted, lost;
};

static void lose(struct kage_qmp *qmp, const char *why)
{
    if (qmp->lost)
        return;
    qmp->lost = true;
    kage_watch_set(qmp->watch, 0);
    qmp->handler->on_lost(why, qmp->user);
}

static void on_reply(struct kage_qmp *qmp, const cJSON *root)
{
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(root, "return");
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(root, "error");
    const cJSON *desc = cJSON_GetObjectItemCaseSensitive(error, "desc");
    struct pending *p = qmp->first;

    if (!p) {
        lose(qmp, "QEMU answered what was not asked");
        return;
    }
    qmp->first = p->next;
    if (!qmp->first)
        qmp->last = &qmp->first;
    if (p->fn)
        p->fn(result,
              result                 ? NULL
              : cJSON_IsString(desc) ? desc->valuestring
                                     : "unknown error",
              p->user);
    free(p);
}

static void on_line(struct kage_qmp *qmp, const char *line, size_t len)
{
    cJSON *root = cJSON_ParseWithLength(line, len);
    const cJSON *event = cJSON_GetObjectItemCaseSensitive(root, "event");

    if (!cJSON_IsObject(root))
        lose(qmp, "QEMU sent something that is not QMP");
    else if (cJSON_IsString(event))
        qmp->handler->on_event(event->valuestring, cJSON_GetObjectItemCaseSensitive(root, "data"),
                               qmp->user);
    else if (cJSON_HasObjectItem(root, "QMP"))
        qmp->greeted = true;
    else
        on_reply(qmp, root);
    cJSON_Delete(root);
}

static void on_readable(uint32_t events, void *user)
{
    struct kage_qmp *qmp = user;
    char chunk[16384];
    ssize_t n = recv(qmp->fd, chunk, sizeof chunk, MSG_DONTWAIT);
    char *nl;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(qmp, "QEMU closed its control channel");
        return;
    }
    kage_buf_add(&qmp->rx, chunk, (size_t)n);
    while (!qmp->lost && qmp->rx.len && (nl = memchr(qmp->rx.data, '\n', qmp->rx.len))) {
        size_t len = (size_t)(nl - qmp->rx.data);

        if (len && qmp->rx.data[len - 1] == '\r')
            on_line(qmp, qmp->rx.data, len - 1);
        else if (len)
            on_line(qmp, qmp->rx.data, len);
        kage_buf_consume(&qmp->rx, len + 1);
    }
    if (!qmp->lost && qmp->rx.len > LINE_MAX_BYTES)
        lose(qmp, "QEMU sent an endless line");
}

static int send_all(int fd, const char *data, size_t len, int pass_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};

    while (len) {
        struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        if (pass_fd >= 0) {
            struct cmsghdr *c;

            msg.msg_control = control.bytes;
            msg.msg_controllen = sizeof control.bytes;
            c = CMSG_FIRSTHDR(&msg);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
        }
        n = sendmsg(fd, &msg, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        pass_fd = -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

void kage_qmp_execute(struct kage_qmp *qmp, const char *command, struct cJSON *arguments,
                      int pass_fd, kage_qmp_fn fn, void *user)
{
    struct pending *p = kage_alloc(sizeof *p);
    cJSON *root = cJSON_CreateObject();
    char *text;
    struct kage_buf line = {0};

    *p = (struct pending){.fn = fn, .user = user};
    *qmp->last = p;
    qmp->last = &p->next;
    cJSON_AddStringToObject(root, "execute", command);
    if (arguments)
        cJSON_AddItemToObject(root, "arguments", arguments);
    text = cJSON_PrintUnformatted(root);
    kage_buf_addf(&line, "%s\n", text ? text : "");
    /* A QEMU that is gone shows as end of file on the same socket. */
    (void)send_all(qmp->fd, line.data, line.len, pass_fd);
    kage_buf_done(&line);
    cJSON_free(text);
    cJSON_Delete(root);
}

int kage_qmp_new(struct kage_loop *loop, int fd, const struct kage_qmp_handler *handler, void *user,
                 struct kage_qmp **ret, struct kage_error *err)
{
    struct kage_qmp *qmp = kage_alloc(sizeof *qmp);

    *qmp = (struct kage_qmp){.fd = fd, .handler = handler, .user = user};
    qmp->last = &qmp->first;
    if (kage_watch_new(loop, fd, EPOLLIN, on_readable, qmp, &qmp->watch, err) < 0) {
        kage_qmp_free(qmp);
        return -1;
    }
    kage_qmp_execute(qmp, "qmp_capabilities", NULL, -1, NULL, NULL);
    *ret = qmp;
    return 0;
}

void kage_qmp_free(struct kage_qmp *qmp)
{
    if (!qmp)
        return;
    kage_watch_free(qmp->watch);
    while (qmp->first) {
        struct pending *p = qmp->first;

        qmp->first = p->next;
        free(p);
    }
    kage_closep(&qmp->fd);
    kage_buf_done(&qmp->rx);
    free(qmp);
}

unsigned kage_qmp_forwarded_port(const char *usernet, const char *guest_address,
                                 unsigned guest_port)
{
    for (const char *line = usernet; line && *line;) {
        char protocol[32], source[64], dest[64];
        unsigned fd, source_port, dest_port;

        /* "  TCP[HOST_FORWARD]  12  127.0.0.1 38213  10.0.2.15  8080  0  0" (slirp's
         * slirp_connection_info) */
        if (sscanf(line, " %31s %u %63s %u %63s %u", protocol, &fd, source, &source_port, dest,
                   &dest_port) == 6 &&
            !strcmp(protocol, "TCP[HOST_FORWARD]") && !strcmp(dest, guest_address) &&
            dest_port == guest_port && source_port <= 65535)
            return source_port;
        line = strchr(line, '\n');
        if (line)
            line++;
    }
    return 0;
}
