#include "box.h"
#include "cases.h"

#include "common/proto/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/xattr.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#define USER "--uid 1000 --gid 1000 "

/* A copy of the probe that carries rights, in the scratch folder. */
static void make_privileged(const char *name, mode_t mode, bool effective)
{
    struct vfs_cap_data caps = {
        .magic_etc = VFS_CAP_REVISION_2 | (effective ? VFS_CAP_FLAGS_EFFECTIVE : 0),
        .data = {{.permitted = 1u << CAP_NET_ADMIN | 1u << CAP_SYS_ADMIN}},
    };
    char command[256];
    char path[128];
    snprintf(path, sizeof path, "%s/%s", box_folder(), name);
    snprintf(command, sizeof command, "cp %s %s", box_probe(), path);
    assert_int_equal(system(command), 0);
    assert_int_equal(chmod(path, mode), 0);
    if (mode == 0755)
        assert_int_equal(setxattr(path, XATTR_NAME_CAPS, &caps, sizeof caps, 0), 0);
}

void h18_setuid_gains_nothing(void **state)
{
    static struct box b;
    make_privileged("setuid", 06755, false);
    box_run(&b, USER, "DIR/setuid rights status");
    box_expect(&b, "Uid:", "1000\t1000\t1000\t1000");
    box_expect(&b, "Gid:", "1000\t1000\t1000\t1000");
    box_expect(&b, "CapEff:", "0000000000000000");

    make_privileged("filecaps", 0755, false);
    box_run(&b, USER, "DIR/filecaps rights status");
    box_expect(&b, "CapPrm:", "0000000000000000");
    box_expect(&b, "CapEff:", "0000000000000000");
    box_run(&b, "--profile strict", "DIR/filecaps rights status");
    box_expect(&b, "CapPrm:", "0000000000000000");

    /* A file that insists on its capabilities is not even executed without them. */
    make_privileged("insistent", 0755, true);
    box_start(&b, USER, "DIR/insistent rights status");
    box_finish(&b);
    assert_int_equal(b.failed, KAGE_SANDBOX_EXEC_FAILED);
    assert_int_equal(b.errnum, EPERM);
}

void h18_capabilities(void **state)
{
    static const struct {
        const char *options;
        const char *caps; /* permitted, effective and bounding */
    } cases[] = {
        {USER, "0000000000000000"},
        {USER "--profile strict", "0000000000000000"},
        {"--profile strict", "0000000000000000"},
        /* CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP
         * NET_BIND_SERVICE SYS_CHROOT AUDIT_WRITE SETFCAP */
        {"", "00000000a00405fb"},
    };
    static struct box b;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        box_run(&b, cases[i].options, "PROBE rights status");
        box_expect(&b, "CapInh:", "0000000000000000");
        box_expect(&b, "CapPrm:", cases[i].caps);
        box_expect(&b, "CapEff:", cases[i].caps);
        box_expect(&b, "CapBnd:", cases[i].caps);
        box_expect(&b, "CapAmb:", "0000000000000000");
        box_expect(&b, "NoNewPrivs:", "1");
    }
    box_run(&b, "--uid 1000 --gid 1001 --groups 7,4,4294967294", "PROBE rights status");
    box_expect(&b, "Uid:", "1000\t1000\t1000\t1000");
    box_expect(&b, "Gid:", "1001\t1001\t1001\t1001");
    box_expect(&b, "Groups:", "4 7 4294967294 ");
    box_run(&b, USER, "PROBE rights status");
    box_expect(&b, "Groups:", "");
}

static void leave_descriptors_open(void *arg)
{
    for (int fd = 40; fd < 60; fd++)
        dup2(STDIN_FILENO, fd);
    dup2(STDIN_FILENO, 3);
    dup2(STDIN_FILENO, 777);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
}

void h19_three_descriptors(void **state)
{
    static const char *const everybody[] = {"", USER, "--profile strict", USER "--profile none"};
    for (size_t i = 0; i < sizeof everybody / sizeof everybody[0]; i++) {
        static struct box b;
        box_start_prepared(&b, everybody[i], "PROBE rights descriptors", leave_descriptors_open,
                           NULL);
        box_finish(&b);
        assert_true(b.exited);
        box_expect(&b, "fds", "0 1 2");
        box_start_prepared(&b, everybody[i], "PROBE rights status", leave_descriptors_open, NULL);
        box_finish(&b);
        box_expect(&b, "SigIgn:", "0000000000000000");
        box_expect(&b, "SigBlk:", "0000000000000000");
    }
}

static int listen_somewhere(int *ret_port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    *ret_port = ntohs(in.sin_port);
    return fd;
}

static int listen_abstract(int port)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int len = snprintf(un.sun_path + 1, sizeof un.sun_path - 1, "kage-test-%d", port);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)),
                     0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

/* A listener on the caller's loopback, as vmd's port is one. With the caller's own
 * network the probe reaches it, so the refusals are the namespace's doing. */
void h20_private_network(void **state)
{
    static struct box b;
    char command[64];
    int port;
    int tcp = listen_somewhere(&port);
    int abstract = listen_abstract(port);
    snprintf(command, sizeof command, "PROBE rights connect %d", port);
    box_run(&b, USER "--host-net", command);
    box_expect(&b, "connect-tcp", "ok");
    box_expect(&b, "connect-abstract", "ok");
    box_run(&b, USER "--private-net", command);
    box_expect(&b, "connect-tcp", "ECONNREFUSED");
    box_expect(&b, "connect-abstract", "ECONNREFUSED");
    box_run(&b, "", command);
    box_expect(&b, "connect-tcp", "ECONNREFUSED");
    box_expect(&b, "connect-abstract", "ECONNREFUSED");
    close(tcp);
    close(abstract);
}

void h22_no_devices(void **state)
{
    static const char *const everybody[] = {"", USER, "--profile strict", USER "--profile strict"};
    for (size_t i = 0; i < sizeof everybody / sizeof everybody[0]; i++) {
        static struct box b;
        box_run(&b, everybody[i], "PROBE rights devices DIR");
        box_expect(&b, "mknod-block", "EPERM");
        box_expect(&b, "mknod-char", "EPERM");
        box_expect(&b, "mkfifo", "ok");
    }
}

/* Nothing in /proc outside the processes' own folders may be written to: those
 * files act on the whole machine. core_pattern alone would be a root shell. */
void h22_kernel_files(void **state)
{
    static const char *const everybody[] = {"", USER, "--profile strict", USER "--profile strict"};
    for (size_t i = 0; i < sizeof everybody / sizeof everybody[0]; i++) {
        static struct box b;
        char *line;
        box_run(&b, everybody[i], "PROBE rights proc");
        assert_int_equal(b.wait_status, 0);
        /* The masks themselves: writing to /dev/null does nothing. */
        while ((line = strstr(b.output, "writable /proc/")) != NULL) {
            static const char *const masked[] = {"sysrq-trigger", "kcore",      "keys",
                                                 "timer_list",    "kpageflags", "kpagecount",
                                                 "kpagecgroup"};
            const char *name = line + strlen("writable /proc/");
            bool known = false;
            for (size_t k = 0; k < sizeof masked / sizeof masked[0]; k++)
                known = known || strncmp(name, masked[k], strlen(masked[k])) == 0;
            if (!known)
                fail_msg("'%s' can write /proc/%.*s", everybody[i], (int)strcspn(name, "\n"), name);
            *line = '-';
        }
    }
}

/* A process outside, of the same user, that can be seen by its number there. */
static pid_t start_outsider(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close_range(0, ~0U, 0);
        if (setgid(1000) < 0 || setuid(1000) < 0)
            _exit(1);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* after setuid(), which clears it */
        for (;;)
            pause();
    }
    return pid;
}

void h23_other_processes(void **state)
{
    static const char *const everybody[] = {"", USER, "--profile strict", USER "--profile strict"};
    pid_t outsider = start_outsider();
    for (size_t i = 0; i < sizeof everybody / sizeof everybody[0]; i++) {
        static struct box b;
        char command[64];
        bool strict = strstr(everybody[i], "strict") != NULL;
        snprintf(command, sizeof command, "PROBE rights processes %d", outsider);
        box_run(&b, everybody[i], command);
        box_expect(&b, "signal-outsider", "ESRCH");
        box_expect(&b, "see-outsider", "ENOENT");
        box_expect(&b, "trace-init", "EPERM");
        box_expect(&b, "read-init-memory", "EACCES");
        box_expect(&b, "read-init-environment", "EACCES");
        box_expect(&b, "open-init-descriptors", "EACCES");
        box_expect(&b, "init-root", "EACCES");
        box_expect(&b, "survived", "ok");
        assert_true(WIFEXITED(b.wait_status));
        box_run(&b, everybody[i], "PROBE rights debugging");
        box_expect(&b, "trace-child", strict ? "EPERM" : "ok");
    }
    assert_int_equal(kill(outsider, 0), 0);
    kill(outsider, SIGKILL);
    waitpid(outsider, NULL, 0);
}
