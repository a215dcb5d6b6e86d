#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void say_result(const char *name, long result)
{
    probe_say(name, result < 0 ? errno : 0);
}

static void copy_status_lines(void)
{
    static const char *const wanted[] = {"Uid:",        "Gid:",    "Groups:", "Cap",
                                         "NoNewPrivs:", "SigIgn:", "SigBlk:"};
    char line[512];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
            if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
                fputs(line, stdout);
        }
    }
    if (f)
        fclose(f);
}

/* The descriptors that are open, by asking for each and not by a listing, which
 * would need one more. */
static void list_descriptors(void)
{
    printf("fds");
    for (int fd = 0; fd < 4096; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            printf(" %d", fd);
    }
    printf("\n");
}

static void try_devices(const char *folder)
{
    if (chdir(folder) < 0) {
        probe_say("chdir", errno);
        return;
    }
    say_result("mknod-block", mknod("block", S_IFBLK | 0600, makedev(7, 0)));
    say_result("mknod-char", mknod("mem", S_IFCHR | 0600, makedev(1, 1)));
    say_result("mkfifo", mkfifo("fifo", 0600));
    unlink("fifo");
    say_result("open-kcore", open("/proc/kcore", O_RDONLY));
}

/* Their numbers are no secret from root; what they lead to is. */
static int open_any(const char *folder)
{
    char path[64];
    for (int fd = 0; fd < 1024; fd++) {
        snprintf(path, sizeof path, "%s/%d", folder, fd);
        int opened = open(path, O_RDONLY | O_NONBLOCK);
        if (opened >= 0 || errno == ENXIO) /* a socket was found, only not opened */
            return 0;
    }
    errno = EACCES;
    return -1;
}

static void try_processes(pid_t outsider)
{
    char path[64];
    int proc;
    say_result("signal-outsider", kill(outsider, 0));
    snprintf(path, sizeof path, "/proc/%d", outsider);
    say_result("see-outsider", access(path, F_OK));
    say_result("trace-init", ptrace(PTRACE_SEIZE, 1, 0, 0));
    say_result("read-init-memory", open("/proc/1/mem", O_RDWR));
    say_result("read-init-environment",
               (proc = open("/proc/1/environ", O_RDONLY)) < 0 ? -1 : read(proc, path, sizeof path));
    say_result("open-init-descriptors", open_any("/proc/1/fd"));
    say_result("init-root", readlink("/proc/1/root", path, sizeof path));
    /* Init ignores what comes from inside its namespace; being here afterwards
     * is the proof, whatever kill() says. */
    for (int sig = 1; sig <= SIGRTMAX; sig++)
        kill(1, sig);
    probe_say("survived", 0);
    say_result("kill-all", kill(-1, 0) < 0 && errno != ESRCH ? -1 : 0);
}

/* A debugger on a child of one's own. */
static void try_debugging(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
            _exit(errno);
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(pid, &status, WUNTRACED);
    if (WIFSTOPPED(status)) {
        ptrace(PTRACE_CONT, pid, 0, 0);
        waitpid(pid, &status, 0);
    }
    probe_say("trace-child", WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD);
}

static int say_writable(const char *path, const struct stat *st, int type, struct FTW *where)
{
    int fd;
    /* Processes' own folders are a matter of their own. */
    if (where->level == 1 && (strspn(path + 6, "0123456789") > 0 || strstr(path, "self")))
        return FTW_SKIP_SUBTREE;
    /* Root may open what is not meant to be written; without a handler for it
     * writing fails all the same. Those that have one show it in their mode. */
    if (type != FTW_F || (st->st_mode & 0222) == 0)
        return FTW_CONTINUE;
    fd = open(path, O_WRONLY | O_NONBLOCK);
    if (fd >= 0) {
        printf("writable %s\n", path);
        close(fd);
    }
    return FTW_CONTINUE;
}

static void try_connect(const char *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(port)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int len = snprintf(un.sun_path + 1, sizeof un.sun_path - 1, "kage-test-%s", port);
    say_result("connect-tcp",
               connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&in, sizeof in));
    say_result("connect-abstract",
               connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&un,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)));
}

int probe_rights(int argc, char **argv)
{
    if (argc >= 1 && strcmp(argv[0], "status") == 0)
        copy_status_lines();
    else if (argc >= 1 && strcmp(argv[0], "descriptors") == 0)
        list_descriptors();
    else if (argc >= 2 && strcmp(argv[0], "devices") == 0)
        try_devices(argv[1]);
    else if (argc >= 2 && strcmp(argv[0], "processes") == 0)
        try_processes((pid_t)atoi(argv[1]));
    else if (argc >= 1 && strcmp(argv[0], "debugging") == 0)
        try_debugging();
    else if (argc >= 1 && strcmp(argv[0], "proc") == 0)
        return nftw("/proc", say_writable, 64, FTW_PHYS | FTW_ACTIONRETVAL) < 0;
    else if (argc >= 2 && strcmp(argv[0], "connect") == 0)
        try_connect(argv[1]);
    else if (argc >= 2 && strcmp(argv[0], "touch") == 0)
        return creat(argv[1], 0644) < 0;
    else
        return 2;
    return 0;
}
