#include "guest/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/proto/message.h"
#include "common/proto/sandbox.h"
#include "guest/guest.h"
#include "guest/refusal.h"
#include "guest/users.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define DEFAULT_TERM "TERM=xterm-256color"
#define NOBODY 65534
#define TTY_GROUP 5 /* Debian's fixed gid of "tty"; devpts is mounted with the same */

/* Room for more than one chunk, so that a busy command is not woken for every frame. */
#define PIPE_BYTES (4 * (int)KAGE_CHUNK_MAX)

struct strings {
    char **items;
    size_t n, cap;
};

/* Everything between the request and the running helper. */
struct start {
    uid_t uid;
    gid_t gid;
    struct kage_u32_list groups;
    struct kage_user user; /* name NULL when the uid has no entry */
    const char *profile;
    int net_fd;
    bool host_net; /* join nothing: only where vmd is no PID 1 */
    int cgroup_fd;
    int exec_fd; /* borrowed; -1: the command is looked up */
    struct strings env, argv;
    int child_in, child_out, child_err, child_status;
};

static const struct start NO_START = {.net_fd = -1,
                                      .cgroup_fd = -1,
                                      .exec_fd = -1,
                                      .child_in = -1,
                                      .child_out = -1,
                                      .child_err = -1,
                                      .child_status = -1};
static const struct kage_launch NO_LAUNCH = {
    .pid = -1, .status_fd = -1, .in_fd = -1, .out_fd = -1, .err_fd = -1, .slave_fd = -1};

static void push(struct strings *s, char *owned)
{
    s->items = kage_array_grow(s->items, &s->cap, s->n + 2, sizeof *s->items);
    s->items[s->n++] = owned;
    s->items[s->n] = NULL;
}

static void strings_done(struct strings *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->items[i]);
    free(s->items);
}

static void start_done(struct start *s)
{
    free(s->groups.items);
    kage_user_done(&s->user);
    strings_done(&s->env);
    strings_done(&s->argv);
    kage_closep(&s->child_in);
    kage_closep(&s->child_out);
    kage_closep(&s->child_err);
    kage_closep(&s->child_status);
}

static void launch_done(struct kage_guest *guest, struct kage_launch *l)
{
    kage_closep(&l->status_fd);
    kage_closep(&l->in_fd);
    kage_closep(&l->out_fd);
    kage_closep(&l->err_fd);
    kage_closep(&l->slave_fd);
    kage_cgroup_done(guest, &l->cgroup);
}

/* ---- who and how ---- */

static int resolve_user(const struct kage_msg *m, struct start *s, struct kage_refusal *why)
{
    bool known;

    if (m->spawn.user) {
        if (!kage_user_by_name(m->spawn.user, &s->user))
            return kage_refuse(why, KAGE_RPC_USER, 0, "the guest has no user '%s'", m->spawn.user);
        known = true;
        s->uid = s->user.uid;
        s->gid = s->user.gid;
    } else {
        s->uid = m->spawn.uid == KAGE_UNSET ? 0 : (uid_t)m->spawn.uid;
        known = kage_user_by_uid(s->uid, &s->user);
        s->gid = known ? s->user.gid : s->uid;
        if (m->spawn.gid != KAGE_UNSET)
            s->gid = (gid_t)m->spawn.gid;
    }
    if (m->spawn.groups.n) {
        s->groups.items =
            kage_memdup(m->spawn.groups.items, m->spawn.groups.n * sizeof *s->groups.items);
        s->groups.n = m->spawn.groups.n;
    } else if (known && (m->spawn.user || m->spawn.gid == KAGE_UNSET)) {
        kage_user_groups(s->user.name, s->gid, &s->groups);
    }
    return 0;
}

/* The names of profiles; the seed's stand for the nearest of ours. */
static const struct {
    const char *name, *profile;
} profiles[] = {
    {"default", "default"}, {"strict", "strict"},  {"none", "none"},
    {"nodejs", "default"},  {"python", "default"}, {"minimal", "strict"},
};

static int resolve_profile(const struct kage_msg *m, struct start *s, struct kage_refusal *why)
{
    const char *name = m->spawn.seccomp_profile ? m->spawn.seccomp_profile : "default";

    for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++)
        if (!strcmp(profiles[i].name, name)) {
            s->profile = profiles[i].profile;
            return 0;
        }
    return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0, "there is no seccomp_profile '%s'", name);
}

/* vmd's own busybox tells by its name what it shall do. It is a command like any other to the
 * sandbox; only finding it does not depend on the image. */
static int resolve_builtin(const struct kage_guest *guest, const struct kage_msg *m,
                           struct start *s, struct kage_refusal *why)
{
    if (!m->spawn.builtin)
        return 0;
    if (guest->builtin_fd < 0)
        return kage_refuse(why, KAGE_RPC_SPAWN, 0, "vmd has no built-in programs");
    if (strchr(m->spawn.command, '/'))
        return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0,
                           "field 'command' must be the plain name of a built-in program");
    s->exec_fd = guest->builtin_fd;
    return 0;
}

static void resolve_network(const struct kage_guest *guest, const struct kage_msg *m,
                            struct start *s)
{
    bool open = m->spawn.network && !m->spawn.private_network;

    s->host_net = open && !guest->machine;
    if (!s->host_net && !m->spawn.private_network)
        s->net_fd = open && guest->open_net_fd >= 0 ? guest->open_net_fd : guest->quiet_net_fd;
}

static void add_default(struct strings *env, const char *name, const char *value)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < env->n; i++)
        if (!strncmp(env->items[i], name, n) && env->items[i][n] == '=')
            return;
    if (value && *value)
        push(env, kage_asprintf("%s=%s", name, value));
}

static void make_env(const struct kage_msg *m, struct start *s)
{
    for (size_t i = 0; i < m->spawn.env.n; i++)
        push(&s->env, kage_strdup(m->spawn.env.items[i]));
    add_default(&s->env, "PATH", DEFAULT_PATH + strlen("PATH="));
    add_default(&s->env, "HOME", s->user.home ? s->user.home : "/");
    add_default(&s->env, "USER", s->user.name);
    add_default(&s->env, "LOGNAME", s->user.name);
    add_default(&s->env, "SHELL", s->user.shell);
    if (m->spawn.pty)
        add_default(&s->env, "TERM", DEFAULT_TERM + strlen("TERM="));
}

static void push_option(struct strings *argv, const char *name, char *value)
{
    push(argv, kage_strdup(name));
    push(argv, value);
}

static char *id_list(const struct kage_u32_list *ids)
{
    struct kage_buf b = {0};

    for (size_t i = 0; i < ids->n; i++)
        kage_buf_addf(&b, "%s%u", i ? "," : "", ids->items[i]);
    return kage_buf_take(&b);
}

static void make_argv(const struct kage_msg *m, struct start *s)
{
    struct strings *a = &s->argv;

    push(a, kage_strdup("sandbox-helper"));
    push_option(a, "--profile", kage_strdup(s->profile));
    push_option(a, "--uid", kage_asprintf("%u", s->uid));
    push_option(a, "--gid", kage_asprintf("%u", s->gid));
    if (s->groups.n)
        push_option(a, "--groups", id_list(&s->groups));
    push_option(a, "--cwd", kage_strdup(m->spawn.cwd ? m->spawn.cwd : "/"));
    if (s->net_fd >= 0)
        push_option(a, "--net-fd", kage_asprintf("%d", s->net_fd));
    else
        push(a, kage_strdup(s->host_net ? "--host-net" : "--private-net"));
    if (s->cgroup_fd >= 0)
        push_option(a, "--cgroup-fd", kage_asprintf("%d", s->cgroup_fd));
    if (s->exec_fd >= 0)
        push_option(a, "--exec-fd", kage_asprintf("%d", s->exec_fd));
    if (s->child_status >= 0)
        push_option(a, "--status-fd", kage_asprintf("%d", s->child_status));
    if (m->spawn.pty)
        push(a, kage_strdup("--tty"));
    push(a, kage_strdup("--"));
    push(a, kage_strdup(m->spawn.command));
    for (size_t i = 0; i < m->spawn.args.n; i++)
        push(a, kage_strdup(m->spawn.args.items[i]));
}

/* ---- descriptors ---- */

/* ours gets O_NONBLOCK; the command's end stays as programs expect it. A program that reopens
 * /dev/stdout needs the pipe to belong to its user. */
static int make_pipe(const struct start *s, int *ours, int *theirs, bool we_read)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    *ours = fds[we_read ? 0 : 1];
    *theirs = fds[we_read ? 1 : 0];
    fcntl(*ours, F_SETPIPE_SZ, PIPE_BYTES); /* smaller is slower, not wrong */
    if (fchown(*theirs, s->uid, s->gid) < 0 && errno != EPERM)
        return -1;
    return fcntl(*ours, F_SETFL, O_NONBLOCK | (we_read ? 0 : O_WRONLY));
}

static int make_pipes(bool no_stdin, struct start *s, struct kage_launch *l)
{
    if (no_stdin) {
        if ((s->child_in = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
            return -1;
    } else if (make_pipe(s, &l->in_fd, &s->child_in, false) < 0) {
        return -1;
    }
    return make_pipe(s, &l->out_fd, &s->child_out, true) < 0 ||
                   make_pipe(s, &l->err_fd, &s->child_err, true) < 0
               ? -1
               : 0;
}

static int make_pty(const struct kage_msg *m, struct start *s, struct kage_launch *l)
{
    struct winsize size = {
        .ws_row = m->spawn.rows == KAGE_UNSET ? 24 : (unsigned short)m->spawn.rows,
        .ws_col = m->spawn.cols == KAGE_UNSET ? 80 : (unsigned short)m->spawn.cols};
    struct termios t;
    int unlock = 0;

    l->out_fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (l->out_fd < 0 || ioctl(l->out_fd, TIOCSPTLCK, &unlock) < 0)
        return -1;
    /* By descriptor: a name under /dev/pts may mean another terminal by now. */
    l->slave_fd = ioctl(l->out_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (l->slave_fd < 0 || ioctl(l->out_fd, TIOCSWINSZ, &size) < 0)
        return -1;
    if (tcgetattr(l->slave_fd, &t) == 0) {
        t.c_iflag |= IUTF8; /* so that erasing takes whole characters */
        tcsetattr(l->slave_fd, TCSANOW, &t);
    }
    if ((fchown(l->slave_fd, s->uid, TTY_GROUP) < 0 || fchmod(l->slave_fd, 0620) < 0) &&
        errno != EPERM)
        return -1;
    s->child_in = fcntl(l->slave_fd, F_DUPFD_CLOEXEC, 3);
    s->child_out = fcntl(l->slave_fd, F_DUPFD_CLOEXEC, 3);
    s->child_err = fcntl(l->slave_fd, F_DUPFD_CLOEXEC, 3);
    l->in_fd = fcntl(l->out_fd, F_DUPFD_CLOEXEC, 3);
    return s->child_in < 0 || s->child_out < 0 || s->child_err < 0 || l->in_fd < 0 ? -1 : 0;
}

static int make_status(struct start *s, struct kage_launch *l, struct kage_refusal *why)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return kage_refuse(why, KAGE_RPC_SPAWN, errno, "cannot make a socket for the helper");
    l->status_fd = pair[0];
    s->child_status = pair[1];
    return 0;
}

static int make_streams(const struct kage_msg *m, struct start *s, struct kage_launch *l,
                        struct kage_refusal *why)
{
    if (m->spawn.pty ? make_pty(m, s, l) < 0 : make_pipes(m->spawn.no_stdin, s, l) < 0)
        return kage_refuse(why, KAGE_RPC_SPAWN, errno, "cannot make a %s for the command",
                           m->spawn.pty ? "terminal" : "pipe");
    return 0;
}

/* ---- the child ---- */

static void keep_over_exec(int fd)
{
    if (fd >= 0)
        fcntl(fd, F_SETFD, 0);
}

static _Noreturn void child_fail(const struct start *s, int errnum, const char *what)
{
    struct kage_sandbox_msg m = {.kind = KAGE_SANDBOX_SETUP_FAILED, .value = errnum};

    strncpy(m.text, what, sizeof m.text - 1);
    send(s->child_status, &m, sizeof m, MSG_NOSIGNAL);
    _exit(127);
}

/* Runs in vmd's memory until the exec (vfork): it may only make system calls. */
static _Noreturn void child(const struct kage_guest *guest, const struct start *s)
{
    sigset_t none;

    if (dup2(s->child_in, 0) < 0 || dup2(s->child_out, 1) < 0 || dup2(s->child_err, 2) < 0)
        child_fail(s, errno, "cannot connect the standard streams");
    keep_over_exec(s->child_status);
    keep_over_exec(s->net_fd);
    keep_over_exec(s->cgroup_fd);
    keep_over_exec(s->exec_fd);
    setrlimit(RLIMIT_NOFILE, &guest->command_files);
    signal(SIGPIPE, SIG_DFL); /* vmd ignores it, and that would be inherited */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* The helper by its descriptor: in a machine it has no name any more. */
    syscall(SYS_execveat, guest->helper_fd, "", s->argv.items, s->env.items, AT_EMPTY_PATH);
    child_fail(s, errno, "cannot start sandbox-helper");
}

static int start_helper(struct kage_guest *guest, const struct start *s, struct kage_launch *l,
                        struct kage_refusal *why)
{
    pid_t pid = vfork(); /* no copy of vmd's page tables for something that execs at once */

    if (pid == 0)
        child(guest, s);
    if (pid < 0)
        return kage_refuse(why, KAGE_RPC_SPAWN, errno, "cannot start another process");
    l->pid = pid;
    return 0;
}

static uint64_t limit_of(int64_t value)
{
    return value == KAGE_UNSET ? 0 : (uint64_t)value;
}

/* To the sandbox that waits, if it is one for this command; with the streams of *s if there are
 * any. */
static int hand_over(struct kage_guest *guest, const struct kage_msg *m, struct start *s,
                     struct kage_launch *l)
{
    const int streams[] = {s->child_in, s->child_out, s->child_err};
    struct kage_standby_order order = {
        .root = s->uid == 0,
        .net_fd = s->net_fd,
        .streams = s->child_out >= 0 ? streams : NULL,
        .uid = s->uid,
        .gid = s->gid,
        .max_processes = limit_of(m->spawn.max_processes),
        .max_memory = limit_of(m->spawn.max_memory),
    };
    int r;

    if (!guest->standby[order.root].pid || s->net_fd < 0 || strcmp(s->profile, "default") != 0)
        return -1;
    make_argv(m, s);
    order.argv = s->argv.items;
    order.env = s->env.items;
    r = kage_standby_order(guest, &order, l);
    strings_done(&s->argv);
    s->argv = (struct strings){0};
    return r;
}

static int launch(struct kage_guest *guest, const struct kage_msg *m, struct start *s,
                  struct kage_launch *l, struct kage_refusal *why)
{
    bool plain = m->spawn.no_stdin && !m->spawn.pty; /* a sandbox that waits has these streams */

    if (resolve_user(m, s, why) < 0 || resolve_profile(m, s, why) < 0)
        return -1;
    if (!*m->spawn.command)
        return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0, "field 'command' is empty");
    if (m->spawn.cwd && m->spawn.cwd[0] != '/')
        return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0, "field 'cwd' must be absolute");
    if (resolve_builtin(guest, m, s, why) < 0)
        return -1;
    resolve_network(guest, m, s);
    if (!plain && make_streams(m, s, l, why) < 0)
        return -1;
    make_env(m, s);
    l->uid = s->uid;
    l->confined = guest->owns_root && strcmp(s->profile, "none") != 0;
    if (hand_over(guest, m, s, l) == 0)
        return 0;
    if (plain && make_streams(m, s, l, why) < 0)
        return -1;
    if (make_status(s, l, why) < 0)
        return -1;
    if (kage_cgroup_make(guest, limit_of(m->spawn.max_processes), limit_of(m->spawn.max_memory),
                         &l->cgroup) < 0)
        return kage_refuse(why, KAGE_RPC_SPAWN, errno, "cannot limit processes or memory");
    s->cgroup_fd = l->cgroup.made ? l->cgroup.fd : -1;
    make_argv(m, s);
    return start_helper(guest, s, l, why);
}

int kage_launch(struct kage_guest *guest, const struct kage_msg *request, struct kage_launch *ret,
                struct kage_refusal *why)
{
    struct start s = NO_START;
    struct kage_launch l = NO_LAUNCH;
    int r = launch(guest, request, &s, &l, why);

    start_done(&s);
    if (r < 0) {
        launch_done(guest, &l);
        return -1;
    }
    *ret = l;
    return 0;
}

static void make_waiting_argv(struct start *s)
{
    struct strings *a = &s->argv;

    push(a, kage_strdup("sandbox-helper"));
    push(a, kage_strdup("--wait"));
    push_option(a, "--uid", kage_asprintf("%u", s->uid));
    push_option(a, "--gid", kage_asprintf("%u", s->gid));
    push_option(a, "--net-fd", kage_asprintf("%d", s->net_fd));
    if (s->cgroup_fd >= 0)
        push_option(a, "--cgroup-fd", kage_asprintf("%d", s->cgroup_fd));
    push_option(a, "--status-fd", kage_asprintf("%d", s->child_status));
}

int kage_launch_waiting(struct kage_guest *guest, bool root, int net_fd, uint64_t max_processes,
                        struct kage_launch *ret, struct kage_refusal *why)
{
    char *no_env[] = {NULL};
    struct start s = NO_START;
    struct kage_launch l = NO_LAUNCH;
    int r = -1;

    s.uid = root ? 0 : NOBODY;
    s.gid = root ? 0 : NOBODY;
    s.net_fd = net_fd;
    s.exec_fd = guest->builtin_fd; /* kept open for a command that is one of its applets */
    if (make_pipes(true, &s, &l) < 0)
        kage_refuse(why, KAGE_RPC_SPAWN, errno, "cannot make pipes");
    else if (kage_cgroup_make(guest, max_processes, 0, &l.cgroup) < 0)
        kage_refuse(why, KAGE_RPC_SPAWN, errno, "cannot make a cgroup");
    else
        r = make_status(&s, &l, why);
    if (r == 0) {
        s.cgroup_fd = l.cgroup.made ? l.cgroup.fd : -1;
        make_waiting_argv(&s);
        s.env.items = no_env;
        r = start_helper(guest, &s, &l, why);
        s.env.items = NULL;
    }
    start_done(&s);
    if (r < 0)
        launch_done(guest, &l);
    else
        *ret = l;
    return r;
}
