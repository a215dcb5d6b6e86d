#include "runner/image/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"

/* How much of a builder's complaints is shown: the last lines say what went wrong. */
#define COMPLAINT_MAX 1024

#define PROGRESS_FD 3

/* The same steps lead from the program to its parts in the build folder and once installed;
 * vmd and sandbox-helper lie beside kage in the one and in libexec in the other. */
static char *beside(const char *folder, const char *steps, const char *name)
{
    char *path = kage_asprintf("%s/%s/%s", folder, steps, name);
    char *real = access(path, X_OK) == 0 ? realpath(path, NULL) : NULL;

    kage_freep(&path);
    return real;
}

static char *find_program(const char *folder, const char *name)
{
    char *path = beside(folder, KAGE_LIBEXEC_FROM_BIN, name);

    return path ? path : beside(folder, ".", name);
}

int kage_builder_find(struct kage_builder *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *folder = realpath("/proc/self/exe", NULL);
    struct kage_builder found = {0};
    char *slash = folder ? strrchr(folder, '/') : NULL;

    if (!slash)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot tell where kage itself is");
    *slash = '\0';
    found.scripts = beside(folder, KAGE_DATA_FROM_BIN, "image-builder");
    found.vmd = find_program(folder, "vmd");
    found.sandbox_helper = find_program(folder, "sandbox-helper");
    if (!found.scripts || !found.vmd || !found.sandbox_helper) {
        kage_error_set(err, KAGE_CLASS_IMAGE,
                       "cannot find %s, which images are made with, from %s; install kage with "
                       "`make install`, or run it from its build folder",
                       !found.vmd              ? "vmd"
                       : !found.sandbox_helper ? "sandbox-helper"
                                               : "the folder image-builder",
                       folder);
        kage_builder_done(&found);
        return -1;
    }
    *ret = found;
    return 0;
}

void kage_builder_done(struct kage_builder *builder)
{
    kage_freep(&builder->scripts);
    kage_freep(&builder->vmd);
    kage_freep(&builder->sandbox_helper);
}

static _Noreturn void become(const char *const argv[], int progress_fd, int complaint_fd)
{
    sigset_t none;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    /* The builder must not outlive a kage that is killed, and must be open to signals that kage
     * itself waits for in other ways. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    /* dup2() onto itself would leave close-on-exec set: move what is in the way first. */
    if (complaint_fd == PROGRESS_FD)
        complaint_fd = fcntl(complaint_fd, F_DUPFD_CLOEXEC, PROGRESS_FD + 1);
    if (null >= 0 && complaint_fd >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
        dup2(null, STDOUT_FILENO) >= 0 && dup2(complaint_fd, STDERR_FILENO) >= 0 &&
        (progress_fd == PROGRESS_FD ? fcntl(progress_fd, F_SETFD, 0)
                                    : dup2(progress_fd, PROGRESS_FD)) >= 0)
        execv(argv[0], (char *const *)argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* Hands over complete lines of `lines`, keeps the rest. */
static void tell(struct kage_buf *lines, kage_image_progress *progress, void *user)
{
    char *end;

    while (lines->len && (end = memchr(lines->data, '\n', lines->len))) {
        bool bar = lines->data[0] == '\r'; /* what progress.h takes it for */
        const char *start = lines->data + (bar ? 1 : 0);
        KAGE_CLEANUP(kage_freep) char *text = kage_printable(start, (size_t)(end - start));
        KAGE_CLEANUP(kage_freep) char *line = kage_asprintf("%s%s", bar ? "\r" : "", text);

        if (progress)
            progress(line, user);
        kage_buf_consume(lines, (size_t)(end - lines->data) + 1);
    }
}

static void follow(int progress_fd, int complaint_fd, kage_image_progress *progress, void *user,
                   struct kage_buf *complaint)
{
    struct pollfd fds[] = {{progress_fd, POLLIN, 0}, {complaint_fd, POLLIN, 0}};
    struct kage_buf lines = {0};

    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0)
            continue; /* EINTR: a signal that ends the builder ends this loop too */
        for (int i = 0; i < 2; i++) {
            char chunk[4096];
            ssize_t n;

            if (fds[i].fd < 0 || !fds[i].revents)
                continue;
            n = read(fds[i].fd, chunk, sizeof chunk);
            if (n <= 0)
                fds[i].fd = -1;
            else
                kage_buf_add(i ? complaint : &lines, chunk, (size_t)n);
        }
        tell(&lines, progress, user);
        if (complaint->len > COMPLAINT_MAX)
            kage_buf_consume(complaint, complaint->len - COMPLAINT_MAX);
    }
    kage_buf_done(&lines);
}

/* The last line says what failed and what to do; what came before it is the evidence. */
static char *complaint_text(const struct kage_buf *complaint)
{
    struct kage_buf before = {0};
    char *last = NULL, *text;

    for (size_t at = 0; at < complaint->len;) {
        const char *line = complaint->data + at;
        size_t len = strcspn(line, "\n");

        if (len) {
            if (last)
                kage_buf_addf(&before, "%s%s", before.len ? "; " : "", last);
            kage_freep(&last);
            last = kage_printable(line, len);
        }
        at += len + 1;
    }
    if (!last)
        text = kage_strdup("the image builder failed and said nothing");
    else if (before.len)
        text = kage_asprintf("%s (before that: %s)", last, before.data);
    else
        text = kage_strdup(last);
    kage_freep(&last);
    kage_buf_done(&before);
    return text;
}

static int judge(int status, const char *program, const struct kage_buf *complaint,
                 struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *text = NULL;
    const char *slash = strrchr(program, '/');

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFSIGNALED(status))
        return kage_error_set(err, KAGE_CLASS_INTERRUPTED, "%s was ended by signal %d",
                              slash ? slash + 1 : program, WTERMSIG(status));
    text = complaint_text(complaint);
    return kage_error_set(err, KAGE_CLASS_IMAGE, "%s", text);
}

int kage_builder_run(const char *const argv[], kage_image_progress *progress, void *user,
                     struct kage_error *err)
{
    struct kage_buf complaint = {0};
    int told[2], complained[2], status, r;
    pid_t pid;

    if (pipe2(told, O_CLOEXEC) < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make a pipe");
    if (pipe2(complained, O_CLOEXEC) < 0) {
        kage_closep(&told[0]);
        kage_closep(&told[1]);
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make a pipe");
    }
    pid = fork();
    if (pid == 0)
        become(argv, told[1], complained[1]);
    r = errno;
    kage_closep(&told[1]);
    kage_closep(&complained[1]);
    if (pid < 0) {
        kage_error_errno(err, KAGE_CLASS_HOST, r, "cannot start %s", argv[0]);
        r = -1;
    } else {
        follow(told[0], complained[0], progress, user, &complaint);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        r = judge(status, argv[0], &complaint, err);
    }
    kage_closep(&told[0]);
    kage_closep(&complained[0]);
    kage_buf_done(&complaint);
    return r;
}
