#include "guest/reap.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/loop/loop.h"
#include "guest/guest.h"
#include "guest/process.h"

static void on_signal(int signo, void *user)
{
    struct kage_guest *guest = user;
    int status;
    pid_t pid;

    if (signo != SIGCHLD) {
        kage_loop_quit(guest->loop);
        return;
    }
    /* One SIGCHLD may stand for many ends. Whoever is none of ours was inherited: reaping is all
     * that is to be done for it. */
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0 || (pid < 0 && errno == EINTR))
        if (pid > 0 && !kage_process_reaped(guest, pid, status))
            kage_standby_reaped(guest, pid);
}

int kage_reap_start(struct kage_guest *guest, struct kage_error *err)
{
    sigset_t set;

    signal(SIGCHLD, SIG_DFL); /* ignored, it would take the ends of processes away */
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (!guest->machine) {
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    signal(SIGPIPE, SIG_IGN);
    return kage_loop_signals(guest->loop, &set, on_signal, guest, err);
}
