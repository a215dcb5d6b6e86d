#include "runner/session/tty.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static volatile sig_atomic_t raw_fd = -1;

void kage_tty_restore(void)
{
    int fd = raw_fd;

    if (fd < 0)
        return;
    raw_fd = -1;
    /* At once, not after the output has drained: that waits for ever on a stopped terminal. */
    tcsetattr(fd, TCSANOW, &before);
}

/* tcsetattr() may be called in a signal handler (signal-safety(7)). SA_RESETHAND has put the
 * default back, so returning into the fault ends the program as it would have ended. */
static void on_crash(int signo)
{
    kage_tty_restore();
    raise(signo);
}

static void catch_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;

        /* A sanitizer's handler stays: its report is worth more. */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
    }
}

int kage_tty_make_raw(int fd)
{
    static bool registered;
    struct termios raw;

    if (tcgetattr(fd, &before) < 0)
        return -1;
    raw = before;
    cfmakeraw(&raw);
    if (!registered) {
        registered = true;
        atexit(kage_tty_restore);
        catch_crashes();
    }
    raw_fd = fd; /* first: restoring what was not changed does no harm */
    return tcsetattr(fd, TCSANOW, &raw);
}

bool kage_tty_size(const int *fds, int n, int *ret_rows, int *ret_cols)
{
    struct winsize size;

    for (int i = 0; i < n; i++)
        if (fds[i] >= 0 && ioctl(fds[i], TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col) {
            *ret_rows = size.ws_row;
            *ret_cols = size.ws_col;
            return true;
        }
    return false;
}
