#include "sandbox/command.h"

#include "sandbox/filter.h"
#include "sandbox/order.h"
#include "sandbox/privileges.h"
#include "sandbox/vfork.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The child shares memory with init, which sleeps until the child has exec'd or
 * ended (CLONE_VM | CLONE_VFORK). That saves copying page tables, and it is how
 * init learns whether execve() succeeded: the child leaves its errno in *start.
 * Nothing else can look into that memory: init is not dumpable, and there is no
 * other process in the namespace yet.
 */
struct start {
    const struct kage_sandbox_options *o;
    struct kage_failure failure; /* errnum 0: none */
    int exec_errno;
};

/* vmd ignores SIGPIPE, for one; a command must not inherit that. Nor what others ignore: whatever
 * posix_spawn() of glibc started ignores 32 and 33, which sigaction() will not touch. */
static int reset_signals(struct kage_failure *f)
{
    /* The kernel's struct sigaction: SIG_DFL, no flags, no restorer, an empty mask. */
    static const unsigned long action[4];
    sigset_t none;
    for (int sig = 1; sig <= 64; sig++) {
        if (sig != SIGKILL && sig != SIGSTOP &&
            syscall(SYS_rt_sigaction, sig, action, NULL, sizeof(uint64_t)) < 0)
            return kage_failure_set(f, errno, "reset signals");
    }
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        return kage_failure_set(f, errno, "reset signals");
    return 0;
}

static int take_terminal(bool tty, struct kage_failure *f)
{
    if (tty && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        return kage_failure_set(f, errno, "make standard input the controlling terminal");
    return 0;
}

/* A program's own descriptor goes when it starts, as one of a program that has a name would. */
static int close_all_but(int exec_fd)
{
    if (exec_fd < 0)
        return close_range(3, ~0U, 0);
    if (exec_fd > 3 && close_range(3, (unsigned)exec_fd - 1, 0) < 0)
        return -1;
    if (fcntl(exec_fd, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    return close_range((unsigned)exec_fd + 1, ~0U, 0);
}

static int install_filter(const struct kage_sandbox_options *o, struct kage_failure *f)
{
    if (kage_filter_install(o->profile) < 0)
        return kage_failure_set(f, errno, "install the system call filter");
    return 0;
}

/* All that does not depend on the command. The filter comes last, but when the command is not known
 * yet: the default profile lets through what is still to be done then. Of a sandbox that waits, it
 * is known whether it is root's; root's has root's rights from the start. */
static int prepare_early(const struct kage_sandbox_options *o, struct kage_failure *f)
{
    if (reset_signals(f) < 0 || kage_limits_set(f) < 0 || kage_privileges_bound(o, f) < 0)
        return -1;
    if (setsid() < 0)
        return kage_failure_set(f, errno, "start a session");
    if (o->wait && o->uid == 0 && kage_privileges_drop(o, f) < 0)
        return -1;
    return o->wait ? install_filter(o, f) : 0;
}

/* Whether the one that waited has the rights already that the command is to have. */
static bool has_rights(const struct kage_sandbox_options *made,
                       const struct kage_sandbox_options *o)
{
    return made->wait && made->uid == 0 && o->uid == 0 && o->gid == made->gid &&
           o->group_count == 0 && made->group_count == 0;
}

/* `made` is what the sandbox was made by; it may be *o. */
static int prepare(const struct kage_sandbox_options *made, const struct kage_sandbox_options *o,
                   struct kage_failure *f)
{
    if (take_terminal(o->tty, f) < 0 || (!has_rights(made, o) && kage_privileges_drop(o, f) < 0))
        return -1;
    if (close_all_but(o->exec_fd) < 0)
        return kage_failure_set(f, errno, "close inherited descriptors");
    /* As the user, so that it is no way into folders the user may not enter. */
    if (chdir(o->cwd) < 0)
        return kage_failure_set(f, errno, "enter the working directory");
    return 0;
}

/* The kernel makes a whole address space before it finds that there is no such file. */
static bool is_missing(const char *file)
{
    struct stat st;
    return syscall(SYS_newfstatat, AT_FDCWD, file, &st, 0) < 0 &&
           (errno == ENOENT || errno == ENOTDIR);
}

/* As execvp(), but with a safe default path, and a file that is no program is an
 * error rather than a shell script. Returns the errno. */
static int search_and_exec(char **argv)
{
    const char *name = argv[0];
    const char *path = getenv("PATH");
    char file[PATH_MAX];
    int result = ENOENT;
    if (!*name)
        return ENOENT;
    if (strchr(name, '/')) {
        execve(name, argv, environ);
        return errno;
    }
    if (!path)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (;;) {
        const char *end = strchrnul(path, ':');
        size_t dir = (size_t)(end - path);
        size_t len = strlen(name);
        if (dir + 1 + len < sizeof file) {
            memcpy(file, path, dir);
            if (dir > 0) /* an empty entry means the working directory */
                file[dir++] = '/';
            memcpy(file + dir, name, len + 1);
            if (is_missing(file))
                errno = ENOENT;
            else
                execve(file, argv, environ);
            if (errno == EACCES)
                result = EACCES; /* keep looking, but remember */
            else if (errno != ENOENT && errno != ENOTDIR)
                return errno;
        }
        if (!*end)
            return result;
        path = end + 1;
    }
}

static int exec_command(const struct kage_sandbox_options *o)
{
    if (o->exec_fd < 0)
        return search_and_exec(o->argv);
    syscall(SYS_execveat, o->exec_fd, "", o->argv, environ, AT_EMPTY_PATH);
    return errno;
}

static _Noreturn void command_main(struct start *start)
{
    static struct kage_sandbox_options ordered;
    const struct kage_sandbox_options *o = start->o;
    int r = prepare_early(o, &start->failure);
    if (r == 0 && o->wait) {
        r = kage_order_take(o, &ordered, &start->failure);
        o = &ordered;
    }
    if (r == 0)
        r = prepare(start->o, o, &start->failure);
    if (r == 0 && !start->o->wait)
        r = install_filter(o, &start->failure);
    if (r == 0)
        start->exec_errno = exec_command(o);
    _exit(KAGE_EXIT_SETUP);
}

/* Not inlined, so that the frame shared with the child holds nothing else. */
static __attribute__((noinline)) pid_t start_process(struct start *start)
{
    struct clone_args args = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD};
    pid_t pid = kage_vfork(&args);
    if (pid == 0)
        command_main(start);
    return pid;
}

pid_t kage_command_start(const struct kage_sandbox_options *o, int *exec_errno,
                         struct kage_failure *f)
{
    struct start start = {.o = o};
    kage_vfork_shares(&start);
    pid_t pid = start_process(&start);
    kage_vfork_shares(&start);
    *exec_errno = 0;
    if (pid < 0)
        return kage_failure_set(f, -pid, "start a process");
    if (!start.failure.doing && start.exec_errno == 0)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    *exec_errno = start.exec_errno;
    *f = start.failure;
    return -1;
}
