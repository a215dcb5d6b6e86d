#include "runner/qemu/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/host/qemu_program.h"
#include "runner/qemu/jail.h"
#include "runner/qemu/scratch.h"

/* What the child gives back through the start pipe when it cannot become QEMU. */
struct start_failure {
    int errnum;
    char doing[60];
};

/* Everything QEMU inherits; closed in kage once QEMU runs. */
struct inheritance {
    int qmp, console, control, token, stderr_pipe, scratch;
    const struct kage_qemu_memory *memory; /* may be NULL */
    int *shares;
    size_t n_shares;
    char numbers[6][16]; /* text of qmp, console, token, scratch, rootfs, control */
    char (*share_numbers)[16];
    const struct kage_plan *plan;
    const struct kage_image_files *files;
};

/* ---- what is handed over ---- */

static int socket_pair(int *ours, int *theirs, struct kage_error *err)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make a socket pair");
    *ours = pair[0];
    *theirs = pair[1];
    return 0;
}

/* Does the command line have this placeholder? */
static bool asks_for(const struct kage_plan *plan, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *hole = kage_asprintf("%%{%s}", name);

    for (size_t i = 0; i < plan->n_args; i++)
        if (strstr(plan->args[i].text, hole))
            return true;
    return false;
}

static int make_token(struct kage_qemu *qemu, int *fd, struct kage_error *err)
{
    unsigned char raw[KAGE_TOKEN_HEX / 2];

    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot get random bytes");
    for (size_t i = 0; i < sizeof raw; i++)
        snprintf(qemu->token + 2 * i, 3, "%02x", raw[i]);
    explicit_bzero(raw, sizeof raw);
    *fd = memfd_create("kage-token", MFD_CLOEXEC);
    if (*fd < 0 || write(*fd, qemu->token, KAGE_TOKEN_HEX) != KAGE_TOKEN_HEX)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot store the token in memory");
    return 0;
}

static int open_shares(const struct kage_plan *plan, struct inheritance *in, struct kage_error *err)
{
    in->shares = kage_alloc((plan->n_shares + 1) * sizeof *in->shares);
    in->share_numbers = kage_alloc((plan->n_shares + 1) * sizeof *in->share_numbers);
    for (size_t i = 0; i < plan->n_shares; i++) {
        const struct kage_plan_share *share = &plan->shares[i];
        int fd = open(share->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0) {
            KAGE_CLEANUP(kage_freep) char *path = kage_printable(share->path, strlen(share->path));

            kage_error_errno(err, KAGE_CLASS_HOST, errno,
                             "cannot open the folder '%s' of share '%s'", path, share->name);
            err->loc = share->loc;
            return -1;
        }
        in->shares[in->n_shares++] = fd;
        snprintf(in->share_numbers[i], sizeof in->share_numbers[i], "%d", fd);
    }
    return 0;
}

static void inheritance_done(struct inheritance *in)
{
    kage_closep(&in->qmp);
    kage_closep(&in->console);
    kage_closep(&in->control);
    kage_closep(&in->token);
    kage_closep(&in->stderr_pipe);
    kage_closep(&in->scratch);
    for (size_t i = 0; i < in->n_shares; i++)
        kage_closep(&in->shares[i]);
    free(in->shares);
    free(in->share_numbers);
}

static const char *lookup(const char *name, void *user)
{
    const struct inheritance *in = user;

    if (!strcmp(name, "kernel"))
        return in->files->kernel;
    if (!strcmp(name, "initrd"))
        return in->files->initrd;
    if (!strcmp(name, "rootfs"))
        return in->files->rootfs ? in->numbers[4] : NULL;
    if (!strcmp(name, "rootfs-format"))
        return in->files->rootfs ? in->files->rootfs_format : NULL;
    if (!strcmp(name, "qmp"))
        return in->numbers[0];
    if (!strcmp(name, "console"))
        return in->numbers[1];
    if (!strcmp(name, "control"))
        return in->numbers[5];
    if (!strcmp(name, "token"))
        return in->numbers[2];
    if (!strcmp(name, "scratch"))
        return in->scratch >= 0 ? in->numbers[3] : NULL;
    if (!strncmp(name, "share:", 6))
        for (size_t i = 0; i < in->plan->n_shares; i++)
            if (!strcmp(in->plan->shares[i].name, name + 6))
                return in->share_numbers[i];
    return NULL;
}

static void argv_free(char **argv)
{
    for (char **a = argv; a && *a; a++)
        free(*a);
    free(argv);
}

/* The guest's memory as a file instead of QEMU's own; with a saved state to wait for. */
static void add_memory(char **argv, size_t n, const struct inheritance *in)
{
    struct stat st;

    if (fstat(in->memory->ram_fd, &st) < 0)
        st.st_size = 0; /* QEMU will say that it does not fit */
    argv[n++] = kage_strdup("-object");
    argv[n++] =
        kage_asprintf("memory-backend-file,id=ram,size=%lld,mem-path=/proc/self/fd/%d,"
                      "share=%s",
                      (long long)st.st_size, in->memory->ram_fd, in->memory->shared ? "on" : "off");
    if (in->memory->state_fd >= 0) {
        argv[n++] = kage_strdup("-incoming");
        argv[n++] = kage_strdup("defer");
    }
}

static void use_memory_backend(char **machine)
{
    char *with = kage_asprintf("%s,memory-backend=ram", *machine);

    free(*machine);
    *machine = with;
}

static char **make_argv(const struct kage_plan *plan, struct inheritance *in,
                        struct kage_error *err)
{
    const int fds[] = {in->qmp,     in->console,          in->token,
                       in->scratch, in->files->rootfs_fd, in->control};
    char **argv = kage_alloc((plan->n_args + 6) * sizeof *argv);

    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        snprintf(in->numbers[i], sizeof in->numbers[i], "%d", fds[i]);
    argv[0] = kage_strdup(plan->qemu);
    for (size_t i = 0; i < plan->n_args; i++) {
        argv[i + 1] = kage_plan_expand(plan->args[i].text, lookup, in, err);
        if (!argv[i + 1]) {
            err->loc = plan->args[i].loc;
            argv_free(argv);
            return NULL;
        }
        if (in->memory && i && !strcmp(plan->args[i - 1].text, "-machine"))
            use_memory_backend(&argv[i + 1]);
    }
    if (in->memory)
        add_memory(argv, plan->n_args + 1, in);
    return argv;
}

char *kage_qemu_program(const char *name)
{
    KAGE_CLEANUP(kage_freep)
    char *found = strchr(name, '/') ? kage_strdup(name) : kage_host_find_in_path(name);

    return found && access(found, X_OK) == 0 ? realpath(found, NULL) : NULL;
}

/* Read off the command line itself: a user network without restrict=on connects wherever its guest
 * asks. */
static bool opens_network(const struct kage_plan *plan)
{
    for (size_t i = 0; i + 1 < plan->n_args; i++)
        if (!strcmp(plan->args[i].text, "-netdev") &&
            !strstr(plan->args[i + 1].text, "restrict=on"))
            return true;
    return false;
}

static int make_jail(const struct kage_plan *plan, const struct kage_image_files *files,
                     const struct inheritance *in, const char *program, struct kage_error *err)
{
    struct kage_jail_path *paths = kage_alloc((plan->n_shares + 6) * sizeof *paths);
    struct kage_jail jail = {.program = program, .paths = paths, .network = opens_network(plan)};
    const char *image[] = {files->kernel, files->initrd};
    int r;

    for (size_t i = 0; i < sizeof image / sizeof *image; i++)
        if (image[i])
            paths[jail.n_paths++] = (struct kage_jail_path){.fd = -1, .path = image[i]};
    if (files->rootfs)
        paths[jail.n_paths++] = (struct kage_jail_path){.fd = files->rootfs_fd};
    for (size_t i = 0; i < plan->n_shares; i++)
        paths[jail.n_paths++] =
            (struct kage_jail_path){.fd = in->shares[i], .writable = plan->shares[i].writable};
    if (in->memory)
        paths[jail.n_paths++] = (struct kage_jail_path){.fd = in->memory->ram_fd, .writable = true};
    if (in->scratch >= 0)
        paths[jail.n_paths++] = (struct kage_jail_path){.fd = in->scratch, .writable = true};
    r = kage_jail_prepare(&jail, err);
    free(paths);
    return r;
}

/* ---- the child ---- */

static _Noreturn void child_fail(int pipe_fd, int errnum, const char *doing)
{
    struct start_failure failure = {.errnum = errnum};

    strncpy(failure.doing, doing, sizeof failure.doing - 1);
    if (write(pipe_fd, &failure, sizeof failure) < 0)
        _exit(126);
    _exit(127);
}

static void keep_open(int fd)
{
    if (fd >= 0)
        fcntl(fd, F_SETFD, 0);
}

/* Between fork and exec: async-signal-safe calls only. */
static _Noreturn void become_qemu(char *program, char **argv, const struct inheritance *in,
                                  int ruleset, int start_pipe, pid_t parent)
{
    struct rlimit no_core = {0};
    sigset_t none;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int r;

    /* QEMU must not outlive kage; a parent that is gone already will not send the signal. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        child_fail(start_pipe, errno, "setting the parent death signal");
    if (getppid() != parent)
        _exit(127);
    /* A process group of its own: Ctrl-C at the terminal is kage's to handle. */
    setpgid(0, 0);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(in->stderr_pipe, 2) < 0)
        child_fail(start_pipe, errno, "setting up standard streams");
    setrlimit(RLIMIT_CORE, &no_core);
    /* QEMU asks for huge pages for its translation buffer. A short run touches a little of each,
     * and clearing them took a tenth of a warm start. */
    if (in->memory && in->memory->state_fd >= 0)
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    /* What whoever started kage left open is not QEMU's. Kernels before 5.11 cannot do this in one
     * call; kage's own descriptors are marked one by one anyway. */
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    keep_open(in->qmp);
    keep_open(in->console);
    keep_open(in->control);
    keep_open(in->token);
    keep_open(in->scratch);
    if (in->files->rootfs)
        keep_open(in->files->rootfs_fd);
    if (in->memory) {
        keep_open(in->memory->ram_fd);
        keep_open(in->memory->state_fd);
    }
    for (size_t i = 0; i < in->n_shares; i++)
        keep_open(in->shares[i]);
    if ((r = kage_jail_enter(ruleset)))
        child_fail(start_pipe, r, "entering its jail");
    execv(program, argv);
    child_fail(start_pipe, errno, "executing it");
}

static int spawn(char *program, char **argv, const struct inheritance *in, int ruleset,
                 struct kage_qemu *qemu, struct kage_error *err)
{
    struct start_failure failure = {0};
    pid_t parent = getpid();
    int start[2];
    ssize_t n;

    if (pipe2(start, O_CLOEXEC) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make a pipe");
    qemu->pid = fork();
    if (qemu->pid == 0)
        become_qemu(program, argv, in, ruleset, start[1], parent);
    close(start[1]);
    if (qemu->pid < 0) {
        qemu->pid = 0;
        close(start[0]);
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot start a process");
    }
    qemu->pid_fd = (int)syscall(SYS_pidfd_open, qemu->pid, 0);
    do
        n = read(start[0], &failure, sizeof failure);
    while (n < 0 && errno == EINTR);
    close(start[0]);
    if (n == (ssize_t)sizeof failure)
        return kage_error_errno(err, KAGE_CLASS_HOST, failure.errnum, "cannot start %s: %s",
                                program, failure.doing);
    if (qemu->pid_fd < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot watch QEMU (pidfd_open)");
    return 0;
}

/* ---- the module ---- */

static int take_disk(const struct kage_plan *plan, struct inheritance *in, struct kage_error *err)
{
    if (!in->memory || in->memory->disk_fd < 0)
        return kage_scratch_make(plan->disk, &in->scratch, err);
    in->scratch = fcntl(in->memory->disk_fd, F_DUPFD_CLOEXEC, 3);
    return in->scratch < 0
               ? kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot pass the scratch disk on")
               : 0;
}

static int start(const struct kage_plan *plan, const struct kage_image_files *files,
                 struct inheritance *in, struct kage_qemu *qemu, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *program = kage_qemu_program(plan->qemu);
    KAGE_CLEANUP(kage_closep) int ruleset = -1;
    char **argv;
    int pipe_fds[2], r;

    if (!program)
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "cannot find %s; install QEMU (Debian and Ubuntu: apt install "
                              "qemu-system-x86; Fedora: dnf install qemu-system-x86)",
                              plan->qemu);
    if (socket_pair(&qemu->qmp_fd, &in->qmp, err) < 0 ||
        socket_pair(&qemu->console_fd, &in->console, err) < 0 ||
        socket_pair(&qemu->control_fd, &in->control, err) < 0 ||
        (asks_for(plan, "token") && make_token(qemu, &in->token, err) < 0) ||
        open_shares(plan, in, err) < 0 || (plan->disk && take_disk(plan, in, err) < 0))
        return -1;
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make a pipe");
    qemu->stderr_fd = pipe_fds[0];
    in->stderr_pipe = pipe_fds[1];
    ruleset = make_jail(plan, files, in, program, err);
    if (ruleset == -1)
        return -1;
    qemu->jailed = ruleset >= 0;
    argv = make_argv(plan, in, err);
    if (!argv)
        return -1;
    r = spawn(program, argv, in, ruleset, qemu, err);
    argv_free(argv);
    return r;
}

int kage_qemu_start(const struct kage_plan *plan, const struct kage_image_files *files,
                    const struct kage_qemu_memory *memory, struct kage_qemu *ret,
                    struct kage_error *err)
{
    struct inheritance in = {.qmp = -1,
                             .console = -1,
                             .control = -1,
                             .token = -1,
                             .stderr_pipe = -1,
                             .scratch = -1,
                             .memory = memory,
                             .plan = plan,
                             .files = files};
    struct kage_qemu qemu = KAGE_QEMU_INIT;
    int r = start(plan, files, &in, &qemu, err);

    inheritance_done(&in);
    if (r < 0)
        kage_qemu_stop(&qemu);
    else
        *ret = qemu;
    return r;
}

void kage_qemu_stop(struct kage_qemu *qemu)
{
    if (qemu->pid > 0) {
        kill(qemu->pid, SIGKILL);
        while (waitpid(qemu->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        qemu->pid = 0;
    }
    kage_closep(&qemu->pid_fd);
    kage_closep(&qemu->qmp_fd);
    kage_closep(&qemu->console_fd);
    kage_closep(&qemu->control_fd);
    kage_closep(&qemu->stderr_fd);
    explicit_bzero(qemu->token, sizeof qemu->token);
}

char *kage_qemu_complaint(const struct kage_qemu *qemu)
{
    char text[2048];
    ssize_t n = qemu->stderr_fd < 0 ? 0 : read(qemu->stderr_fd, text, sizeof text - 1);
    char *line = text, *colon;

    if (n <= 0)
        return NULL;
    while (n && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    for (char *p = text; *p; p++)
        if (*p == '\n')
            *p = ';';
    /* "qemu-system-x86_64: -device foo: …" */
    if (!strncmp(text, "qemu-system-", 12) && (colon = strstr(text, ": ")))
        line = colon + 2;
    return *line ? kage_printable(line, strlen(line)) : NULL;
}
