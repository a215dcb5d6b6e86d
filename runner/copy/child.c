#include "runner/copy/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"

int kage_copy_child_start(int (*work)(int fd, void *user), void *user, int child_reads,
                          struct kage_copy_child *ret)
{
    int fds[2], theirs;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    theirs = fds[child_reads ? 0 : 1];
    ret->fd = fds[child_reads ? 1 : 0];
    pid = fork();
    if (pid == 0) {
        int code;

        close(ret->fd);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        code = work(theirs, user);
        fflush(stderr);
        _exit(code);
    }
    close(theirs);
    if (pid < 0)
        kage_closep(&ret->fd);
    ret->pid = pid;
    return pid < 0 ? -1 : 0;
}

int kage_copy_child_wait(struct kage_copy_child *child)
{
    int status = 0;

    kage_closep(&child->fd);
    while (waitpid(child->pid, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
