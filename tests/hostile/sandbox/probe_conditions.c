#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void say_result(const char *name, long result)
{
    probe_say(name, result < 0 ? errno : 0);
}

static const struct {
    const char *name;
    uint64_t flag;
} namespaces[] = {
    {"user", CLONE_NEWUSER},     {"mount", CLONE_NEWNS},  {"pid", CLONE_NEWPID},
    {"net", CLONE_NEWNET},       {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS},
    {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME},
};

static void try_namespaces(void)
{
    char name[64];
    for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++) {
        struct clone_args args = {.flags = namespaces[i].flag, .exit_signal = SIGCHLD};
        long pid;
        snprintf(name, sizeof name, "unshare-%s", namespaces[i].name);
        say_result(name, unshare((int)namespaces[i].flag));
        /* Bits that the kernel ignores must not hide the ones it heeds. */
        snprintf(name, sizeof name, "unshare-high-%s", namespaces[i].name);
        say_result(name, syscall(SYS_unshare, namespaces[i].flag | 1ULL << 40));
        snprintf(name, sizeof name, "clone-%s", namespaces[i].name);
        pid = syscall(SYS_clone, namespaces[i].flag | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
            _exit(0);
        say_result(name, pid);
        snprintf(name, sizeof name, "clone3-%s", namespaces[i].name);
        pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid == 0)
            _exit(0);
        say_result(name, pid);
    }
    say_result("unshare-files", unshare(CLONE_FILES));
}

static void try_terminal(void)
{
    int pty = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    char c = 'x';
    struct termios t;
    if (pty < 0) {
        probe_say("ptmx", errno);
        return;
    }
    say_result("tiocsti", ioctl(pty, TIOCSTI, &c));
    say_result("tiocsti-high", syscall(SYS_ioctl, pty, TIOCSTI | 1ULL << 35, &c));
    say_result("tioclinux", ioctl(pty, TIOCLINUX, &c));
    say_result("tcgets", tcgetattr(pty, &t));
}

static void try_sockets(void)
{
    static const struct {
        const char *name;
        int family;
    } families[] = {
        {"unix", AF_UNIX}, {"inet", AF_INET},     {"inet6", AF_INET6}, {"netlink", AF_NETLINK},
        {"alg", AF_ALG},   {"packet", AF_PACKET}, {"vsock", AF_VSOCK}, {"bluetooth", AF_BLUETOOTH},
    };
    char name[64];
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        snprintf(name, sizeof name, "socket-%s", families[i].name);
        say_result(name, socket(families[i].family, SOCK_DGRAM, 0));
        snprintf(name, sizeof name, "socket-high-%s", families[i].name);
        say_result(name, syscall(SYS_socket, families[i].family | 1LL << 32, SOCK_DGRAM, 0));
    }
}

static void try_personality(void)
{
    say_result("personality-query", personality(0xffffffff));
    say_result("personality-read-implies-exec", personality(READ_IMPLIES_EXEC));
    say_result("personality-mmap-page-zero", personality(MMAP_PAGE_ZERO));
    say_result("personality-no-randomize", personality(ADDR_NO_RANDOMIZE));
}

/* getpid as the foreign ABIs number it: 20 in 32-bit x86, 39 with the x32 bit. */
static void try_foreign(void)
{
#ifdef __x86_64__
    int status = 0;
    say_result("x32", syscall(0x40000000 | 39));
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
        _exit(0);
    }
    waitpid(pid, &status, 0);
    printf("i386 %s\n", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "ran");
#endif
    say_result("unknown", syscall(1000));
    say_result("negative", syscall(-1));
}

int probe_conditions(int argc, char **argv)
{
    try_namespaces();
    try_terminal();
    try_sockets();
    try_personality();
    try_foreign();
    return 0;
}
