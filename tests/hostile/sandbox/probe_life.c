#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Holds a lock on the file for as long as this process lives: that is how a test
 * sees from outside when the last of them is gone. */
static int lock_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT, 0666);
    return fd < 0 || flock(fd, LOCK_SH) < 0 ? -1 : 0;
}

static void ignore_everything(void)
{
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_IGN);
}

/* A daemon by the book, in a session of its own, deaf to every signal that can
 * be ignored, without the pipes of its command. */
static int daemonise(const char *path)
{
    int ready[2];
    char c = 0;
    if (pipe(ready) < 0)
        return 2;
    if (fork() == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        ignore_everything();
        close_range(0, (unsigned)ready[1] - 1, 0);
        if (lock_file(path) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        close(ready[1]);
        for (;;)
            pause();
    }
    close(ready[1]);
    return read(ready[0], &c, 1) == 1 ? 7 : 3;
}

/* Children that fork and end without pause, so that no list of them is ever
 * complete. */
static int breed(const char *path)
{
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            ignore_everything();
            if (lock_file(path) < 0)
                _exit(1);
            for (;;) {
                pid_t pid = fork();
                if (pid > 0)
                    _exit(0);
            }
        }
    }
    usleep(50000);
    return 9;
}

static int count_processes(void)
{
    int n = 0;
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc && (entry = readdir(proc)))
        n += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
    if (proc)
        closedir(proc);
    return n;
}

/* Orphans that end at once. Init has to reap them, or they stay as zombies and
 * fill the limit on processes. */
static int leave_orphans(int count)
{
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return 3;
        if (pid == 0) {
            if (fork() == 0)
                usleep(1000);
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
    for (int tries = 0; tries < 200; tries++) {
        if (count_processes() == 2) /* init and this one */
            return 0;
        usleep(10000);
    }
    return 1;
}

static void on_signal(int sig)
{
    char line[] = "caught 00\n";
    line[7] = (char)('0' + sig / 10);
    line[8] = (char)('0' + sig % 10);
    if (write(STDOUT_FILENO, line, sizeof line - 1) < 0)
        _exit(3);
}

static int catch_signals(void)
{
    signal(SIGUSR1, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGWINCH, on_signal);
    if (write(STDOUT_FILENO, "ready\n", 6) != 6)
        return 2;
    for (;;)
        pause();
}

static int tick(const char *path)
{
    if (path && lock_file(path) < 0)
        return 2;
    while (write(STDOUT_FILENO, ".", 1) == 1)
        usleep(2000);
    return 0;
}

static int terminal(void)
{
    int fd = open("/dev/tty", O_RDWR);
    probe_say("open-tty", fd < 0 ? errno : 0);
    probe_say("foreground", tcgetpgrp(0) == getpid() ? 0 : ENOTTY);
    probe_say("session-leader", getsid(0) == getpid() && getpgrp() == getpid() ? 0 : ESRCH);
    return 0;
}

static int surroundings(void)
{
    char text[512];
    mode_t mask = umask(0);
    printf("umask %03o\n", mask);
    printf("pid %d ppid %d\n", getpid(), getppid());
    if (gethostname(text, sizeof text) == 0)
        printf("host %s\n", text);
    if (getcwd(text, sizeof text))
        printf("cwd %s\n", text);
    FILE *f = fopen("/proc/self/oom_score_adj", "r");
    if (f && fgets(text, sizeof text, f))
        printf("oom %s", text);
    if (f)
        fclose(f);
    f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(text, sizeof text, f))
        printf("cgroup %s", text);
    return 0;
}

int probe_life(int argc, char **argv)
{
    const char *what = argc > 0 ? argv[0] : "";
    const char *arg = argc > 1 ? argv[1] : NULL;
    if (strcmp(what, "daemonise") == 0 && arg)
        return daemonise(arg);
    if (strcmp(what, "breed") == 0 && arg)
        return breed(arg);
    if (strcmp(what, "orphans") == 0 && arg)
        return leave_orphans(atoi(arg));
    if (strcmp(what, "catch") == 0)
        return catch_signals();
    if (strcmp(what, "tick") == 0)
        return tick(arg);
    if (strcmp(what, "terminal") == 0)
        return terminal();
    if (strcmp(what, "surroundings") == 0)
        return surroundings();
    return 2;
}
