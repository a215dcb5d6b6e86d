#include "box.h"
#include "cases.h"

#include "common/proto/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define USER "--uid 1000 --gid 1000 "

/* With EXITED the promise is that it is all over: no waiting here. */
void h26_daemon_ends(void **state)
{
    static const char *const everybody[] = {"", USER, "--profile strict", "--profile none"};
    for (size_t i = 0; i < sizeof everybody / sizeof everybody[0]; i++) {
        static struct box b;
        char name[32];
        char command[64];
        snprintf(name, sizeof name, "daemon%zu", i); /* each user's own file */
        snprintf(command, sizeof command, "PROBE life daemonise DIR/%s", name);
        box_run(&b, everybody[i], command);
        assert_int_equal(WEXITSTATUS(b.wait_status), 7);
        assert_true(box_lock_free(name, 0));
    }
}

void h26_breeders_end(void **state)
{
    static struct box b;
    box_run(&b, USER, "PROBE life breed DIR/breed");
    assert_int_equal(WEXITSTATUS(b.wait_status), 9);
    assert_true(box_lock_free("breed", 0));
}

void h26_vmd_gone(void **state)
{
    static struct box b;
    int status;
    box_start(&b, USER, "PROBE life tick DIR/orphan");
    box_await_start(&b);
    assert_true(box_await_output(&b, ".."));
    assert_false(box_lock_free("orphan", 0));
    close(b.status_fd);
    assert_int_equal(waitpid(b.helper, &status, 0), b.helper);
    assert_true(box_lock_free("orphan", 0));
    close(b.out);
}

void h26_helper_killed(void **state)
{
    static struct box b;
    box_start(&b, USER, "PROBE life tick DIR/killed");
    box_await_start(&b);
    assert_true(box_await_output(&b, ".."));
    kill(b.helper, SIGKILL);
    assert_true(box_lock_free("killed", 2000));
    box_finish(&b);
    assert_false(b.exited);
}

void life_exit_codes(void **state)
{
    static const struct {
        const char *command;
        int status;
    } cases[] = {
        {"/bin/sh -c exit\t0", 0},
        {"/bin/sh -c exit\t7", 7 << 8},
        {"/bin/sh -c exit\t255", 255 << 8},
        {"/bin/sh -c kill\t-9\t$$", SIGKILL},
        {"/bin/sh -c kill\t-TERM\t$$", SIGTERM},
        {"/bin/sh -c kill\t-SEGV\t$$", SIGSEGV},
    };
    static struct box b;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        box_run(&b, USER, cases[i].command);
        assert_int_equal(b.wait_status & ~0x80, cases[i].status);
    }
    static const struct {
        const char *command;
        int errnum;
    } missing[] = {
        {"/nonexistent", ENOENT}, {"kage-no-such-program", ENOENT},
        {"/etc/passwd", EACCES},  {"/etc/passwd/x", ENOTDIR},
        {"/tmp", EACCES},         {"DIR", EACCES},
    };
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        box_start(&b, USER, missing[i].command);
        box_finish(&b);
        assert_int_equal(b.failed, KAGE_SANDBOX_EXEC_FAILED);
        assert_int_equal(b.errnum, missing[i].errnum);
        assert_false(b.started);
    }
}

void life_signals(void **state)
{
    static struct box b;
    box_start(&b, USER, "PROBE life catch");
    box_await_start(&b);
    assert_true(box_await_output(&b, "ready"));
    box_signal(&b, SIGUSR1);
    assert_true(box_await_output(&b, "caught 10"));
    box_signal(&b, SIGWINCH);
    assert_true(box_await_output(&b, "caught 28"));
    box_signal(&b, 0); /* none of these is a signal */
    box_signal(&b, -9);
    box_signal(&b, 1000);
    box_signal(&b, SIGTERM);
    assert_true(box_await_output(&b, "caught 15"));
    box_signal(&b, SIGKILL);
    box_finish(&b);
    assert_true(b.exited);
    assert_true(WIFSIGNALED(b.wait_status) && WTERMSIG(b.wait_status) == SIGKILL);
    /* A whole group: the shell and its child. */
    box_start(&b, USER, "/bin/sh -c sleep\t60;\texit\t3");
    box_await_start(&b);
    usleep(50000);
    box_signal(&b, SIGINT);
    box_finish(&b);
    assert_true(WIFSIGNALED(b.wait_status) && WTERMSIG(b.wait_status) == SIGINT);
}

static bool ticks_within(struct box *b, int ms)
{
    struct pollfd pfd = {.fd = b->out, .events = POLLIN};
    return poll(&pfd, 1, ms) > 0;
}

void life_stop_and_continue(void **state)
{
    static struct box b;
    char discard[4096];
    box_start(&b, USER, "PROBE life tick");
    box_await_start(&b);
    assert_true(box_await_output(&b, ".."));
    box_signal(&b, SIGSTOP);
    usleep(200000);
    while (ticks_within(&b, 0))
        assert_true(read(b.out, discard, sizeof discard) > 0);
    assert_false(ticks_within(&b, 300));
    box_signal(&b, SIGCONT);
    assert_true(ticks_within(&b, 2000));
    box_signal(&b, SIGTERM);
    box_finish(&b);
    assert_true(WIFSIGNALED(b.wait_status) && WTERMSIG(b.wait_status) == SIGTERM);
}

void life_orphans(void **state)
{
    static struct box b;
    box_run(&b, USER, "PROBE life orphans 200");
    assert_int_equal(b.wait_status, 0);
}

/* A command that closes its output while it runs on: whoever reads must see the
 * end then, so neither helper nor init may hold the pipe. */
void life_end_of_output(void **state)
{
    static struct box b;
    box_start(&b, USER, "/bin/sh -c echo\tbye;\texec\tsleep\t60\t>/dev/null\t2>&1");
    box_await_start(&b);
    for (;;) {
        struct pollfd pfd = {.fd = b.out, .events = POLLIN};
        char text[64];
        assert_int_equal(poll(&pfd, 1, 5000), 1);
        if (read(b.out, text, sizeof text) <= 0)
            break;
    }
    assert_int_equal(kill(b.helper, 0), 0);
    box_signal(&b, SIGKILL);
    box_finish(&b);
    assert_true(WIFSIGNALED(b.wait_status));
}

void life_surroundings(void **state)
{
    static struct box b;
    box_run(&b, USER "--hostname kage-box --cwd /usr/bin", "PROBE life surroundings");
    box_expect(&b, "umask", "022");
    box_expect(&b, "pid", "2 ppid 1");
    box_expect(&b, "host", "kage-box");
    box_expect(&b, "cwd", "/usr/bin");
    box_expect(&b, "oom", "500");
    box_run(&b, USER, "PROBE life surroundings");
    box_expect(&b, "cwd", "/");
}

void life_terminal(void **state)
{
    static struct box b;
    int master;
    int slave;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    fcntl(master, F_SETFD, FD_CLOEXEC);
    fcntl(slave, F_SETFD, FD_CLOEXEC);
    assert_int_equal(fchmod(slave, 0666), 0); /* vmd gives it to the user */
    box_stdin = slave;
    box_run(&b, USER "--tty", "PROBE life terminal");
    box_expect(&b, "open-tty", "ok");
    box_expect(&b, "foreground", "ok");
    box_expect(&b, "session-leader", "ok");
    box_run(&b, USER, "PROBE life terminal");
    box_expect(&b, "open-tty", "ENXIO");
    box_stdin = -1;
    close(master);
    close(slave);
}

/* Before it execs, the command's process is the helper; so this names it. The
 * second helper is as confined as any command, and gets nowhere. */
void life_helper_as_command(void **state)
{
    static struct box b;
    box_run(&b, "", "/proc/self/exe --host-net -- /bin/echo out");
    assert_true(WIFEXITED(b.wait_status) && WEXITSTATUS(b.wait_status) == 125);
    assert_null(strstr(b.output, "out\n"));
}

void life_profile_none(void **state)
{
    static struct box b;
    box_run(&b, "--profile none", "PROBE rights status");
    box_expect(&b, "NoNewPrivs:", "0");
    assert_non_null(box_line(&b, "CapEff:"));
    assert_string_not_equal(box_line(&b, "CapEff:"), "00000000a00405fb");
    box_run(&b, USER "--profile none", "PROBE rights status");
    box_expect(&b, "Uid:", "1000\t1000\t1000\t1000");
    box_expect(&b, "CapEff:", "0000000000000000");
    box_run(&b, "--profile none", "PROBE life surroundings");
    box_expect(&b, "pid", "2 ppid 1");
}

#ifndef CGROUP2_SUPER_MAGIC
#define CGROUP2_SUPER_MAGIC 0x63677270
#endif

/* A fresh cgroup, wherever this machine has version 2 mounted. -1 without. */
static int make_cgroup(char *path, size_t size)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        struct statfs fs;
        if (statfs(roots[i], &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
            continue;
        snprintf(path, size, "%s/kage-test-%d", roots[i], getpid());
        if (mkdir(path, 0755) == 0)
            return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return -1;
}

static void pass_cgroup(void *arg)
{
    dup2(*(int *)arg, 70);
}

void life_cgroup(void **state)
{
    static struct box b;
    char path[PATH_MAX];
    char line[64];
    int fd = make_cgroup(path, sizeof path);
    if (fd < 0) {
        print_message("no writable cgroup v2 here\n");
        skip();
    }
    box_start_prepared(&b, USER "--cgroup-fd 70", "PROBE life surroundings", pass_cgroup, &fd);
    box_finish(&b);
    close(fd);
    rmdir(path);
    assert_true(b.exited);
    /* Its own cgroup is all it sees of the tree. */
    snprintf(line, sizeof line, "cgroup 0::/\n");
    assert_non_null(strstr(b.output, line));
}

static int run_by_hand(const char *arguments)
{
    char command[PATH_MAX];
    snprintf(command, sizeof command, "%s %s >%s/by-hand 2>&1", KAGE_SANDBOX_HELPER, arguments,
             box_folder());
    int status = system(command);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

void life_by_hand(void **state)
{
    assert_int_equal(run_by_hand("--help"), 0);
    assert_int_equal(run_by_hand("-- true"), 0);
    assert_int_equal(run_by_hand("-- sh -c 'exit 42'"), 42);
    assert_int_equal(run_by_hand("-- sh -c 'kill -9 $$'"), 137);
    /* An ignored SIGCHLD is inherited, and would take the command's end away. */
    signal(SIGCHLD, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        execl(KAGE_SANDBOX_HELPER, "sandbox-helper", "--", "sh", "-c", "exit 42", NULL);
    }
    signal(SIGCHLD, SIG_DFL);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_int_equal(run_by_hand("-- kage-no-such-program"), 127);
    assert_int_equal(run_by_hand("-- /etc/passwd"), 126);
    assert_int_equal(run_by_hand("--cwd /nonexistent -- true"), 125);
    assert_int_equal(run_by_hand("--uid -1 --gid 0 -- true"), 125);
    assert_int_equal(run_by_hand("true"), 125);
    assert_int_equal(run_by_hand(""), 125);
}
