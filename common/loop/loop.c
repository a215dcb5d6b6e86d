#include "common/loop/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"

/*
 * Theory of operation. One epoll set holds the watches, one timerfd and one
 * signalfd. A callback may free any watch or timer, also one whose event is
 * already in the batch being handed out; so freeing only marks and unlinks, and
 * the memory goes when the outermost dispatch is over.
 */
#define EVENTS_PER_WAIT 64

struct kage_watch {
    struct kage_loop *loop;
    int fd;
    uint32_t events; /* as registered; 0: not in the epoll set */
    kage_watch_fn fn;
    void *user;
    bool dead;
    struct kage_watch *next_dead;
};

struct kage_timer {
    struct kage_loop *loop;
    kage_timer_fn fn;
    void *user;
    uint64_t due_ms; /* 0: not armed */
    bool dead;
    struct kage_timer *prev, *next;
};

struct kage_loop {
    int epoll_fd, timer_fd, signal_fd;
    struct kage_watch *timer_watch, *signal_watch;
    struct kage_watch *dead_watches;
    struct kage_timer *timers; /* every live timer, unordered: a process has a dozen */
    struct kage_timer *dead_timers;
    struct kage_later *later, **last_later; /* in the order in which they were asked for */
    kage_signal_fn on_signal;
    void *signal_user;
    int (*driver)(void *user);
    void *driver_user;
    sigset_t mask_before; /* of the process, when signals are received */
    unsigned depth;
    bool quit;
};

uint64_t kage_now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t kage_now_ms(void)
{
    return kage_now_us() / 1000;
}

/* ---- watches ---- */

int kage_watch_new(struct kage_loop *loop, int fd, uint32_t events, kage_watch_fn fn, void *user,
                   struct kage_watch **ret, struct kage_error *err)
{
    struct kage_watch *w = kage_alloc(sizeof *w);
    struct epoll_event ev = {.events = events, .data.ptr = w};

    *w = (struct kage_watch){.loop = loop, .fd = fd, .events = events, .fn = fn, .user = user};
    if (events && epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int e = errno;

        free(w);
        return kage_error_errno(err, KAGE_CLASS_INTERNAL, e, "cannot watch descriptor %d", fd);
    }
    *ret = w;
    return 0;
}

void kage_watch_set(struct kage_watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};

    if (w->events == events)
        return;
    if (!events)
        epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    else
        epoll_ctl(w->loop->epoll_fd, w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd, &ev);
    w->events = events;
}

void kage_watch_free(struct kage_watch *w)
{
    if (!w || w->dead)
        return;
    kage_watch_set(w, 0);
    w->dead = true;
    w->next_dead = w->loop->dead_watches;
    w->loop->dead_watches = w;
}

/* ---- timers ---- */

static void arm(struct kage_loop *loop)
{
    uint64_t due = 0;
    struct itimerspec its = {0};

    for (struct kage_timer *t = loop->timers; t; t = t->next)
        if (t->due_ms && (!due || t->due_ms < due))
            due = t->due_ms;
    its.it_value.tv_sec = (time_t)(due / 1000);
    its.it_value.tv_nsec = (long)(due % 1000) * 1000000;
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

static void on_timer(uint32_t events, void *user)
{
    struct kage_loop *loop = user;
    uint64_t expirations, now = kage_now_ms();
    struct kage_timer *t;

    if (read(loop->timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        return;
    /* A callback may change the list, so look again from the start after each one. */
    do {
        for (t = loop->timers; t && !(t->due_ms && t->due_ms <= now); t = t->next)
            ;
        if (t) {
            t->due_ms = 0;
            t->fn(t->user);
        }
    } while (t);
    arm(loop);
}

int kage_timer_new(struct kage_loop *loop, kage_timer_fn fn, void *user, struct kage_timer **ret,
                   struct kage_error *err)
{
    struct kage_timer *t = kage_alloc(sizeof *t);

    *t = (struct kage_timer){.loop = loop, .fn = fn, .user = user, .next = loop->timers};
    if (loop->timers)
        loop->timers->prev = t;
    loop->timers = t;
    *ret = t;
    return 0;
}

void kage_timer_set(struct kage_timer *t, uint64_t delay_ms)
{
    t->due_ms = delay_ms ? kage_now_ms() + delay_ms : 0;
    arm(t->loop);
}

void kage_timer_free(struct kage_timer *t)
{
    if (!t || t->dead)
        return;
    if (t->prev)
        t->prev->next = t->next;
    else
        t->loop->timers = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->dead = true;
    t->next = t->loop->dead_timers;
    t->loop->dead_timers = t;
}

/* ---- signals ---- */

static void on_signal(uint32_t events, void *user)
{
    struct kage_loop *loop = user;
    struct signalfd_siginfo info;

    while (read(loop->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        loop->on_signal((int)info.ssi_signo, loop->signal_user);
}

void kage_loop_unignored(const int *signals, size_t n, sigset_t *ret)
{
    sigemptyset(ret);
    for (size_t i = 0; i < n; i++) {
        struct sigaction action;

        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(ret, signals[i]);
    }
}

int kage_loop_signals(struct kage_loop *loop, const sigset_t *set, kage_signal_fn fn, void *user,
                      struct kage_error *err)
{
    if (sigprocmask(SIG_BLOCK, set, loop->signal_watch ? NULL : &loop->mask_before) < 0 ||
        (loop->signal_fd = signalfd(loop->signal_fd, set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        return kage_error_errno(err, KAGE_CLASS_INTERNAL, errno, "cannot receive signals");
    loop->on_signal = fn;
    loop->signal_user = user;
    if (loop->signal_watch)
        return 0;
    return kage_watch_new(loop, loop->signal_fd, EPOLLIN, on_signal, loop, &loop->signal_watch,
                          err);
}

/* ---- before waiting ---- */

void kage_loop_later(struct kage_loop *loop, struct kage_later *later)
{
    if (later->due)
        return;
    later->due = true;
    later->next = NULL;
    *loop->last_later = later;
    loop->last_later = &later->next;
}

void kage_loop_not_later(struct kage_loop *loop, struct kage_later *later)
{
    struct kage_later **at = &loop->later;

    if (!later->due)
        return;
    while (*at != later)
        at = &(*at)->next;
    *at = later->next;
    if (!*at)
        loop->last_later = at;
    later->due = false;
}

static void do_what_is_due(struct kage_loop *loop)
{
    while (loop->later && !loop->quit) {
        struct kage_later *later = loop->later;

        kage_loop_not_later(loop, later);
        later->fn(later->user);
    }
}

/* ---- the loop ---- */

int kage_loop_new(struct kage_loop **ret, struct kage_error *err)
{
    struct kage_loop *loop = kage_alloc(sizeof *loop);

    loop->last_later = &loop->later;
    loop->signal_fd = -1;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->epoll_fd < 0 || loop->timer_fd < 0) {
        kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make an event loop");
        kage_loop_free(loop);
        return -1;
    }
    if (kage_watch_new(loop, loop->timer_fd, EPOLLIN, on_timer, loop, &loop->timer_watch, err) <
        0) {
        kage_loop_free(loop);
        return -1;
    }
    *ret = loop;
    return 0;
}

static void bury(struct kage_loop *loop)
{
    while (loop->dead_watches) {
        struct kage_watch *w = loop->dead_watches;

        loop->dead_watches = w->next_dead;
        free(w);
    }
    while (loop->dead_timers) {
        struct kage_timer *t = loop->dead_timers;

        loop->dead_timers = t->next;
        free(t);
    }
}

void kage_loop_free(struct kage_loop *loop)
{
    if (!loop)
        return;
    if (loop->signal_watch)
        sigprocmask(SIG_SETMASK, &loop->mask_before, NULL);
    kage_watch_free(loop->timer_watch);
    kage_watch_free(loop->signal_watch);
    bury(loop);
    kage_closep(&loop->epoll_fd);
    kage_closep(&loop->timer_fd);
    kage_closep(&loop->signal_fd);
    free(loop);
}

int kage_loop_fd(struct kage_loop *loop)
{
    return loop->epoll_fd;
}

void kage_loop_set_driver(struct kage_loop *loop, int (*driver)(void *user), void *user)
{
    loop->driver = driver;
    loop->driver_user = user;
}

static int dispatch(struct kage_loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms);

    loop->depth++;
    for (int i = 0; i < n; i++) {
        struct kage_watch *w = events[i].data.ptr;

        if (!w->dead && w->events)
            w->fn(events[i].events, w->user);
    }
    if (--loop->depth == 0)
        bury(loop);
    return n < 0 && errno != EINTR ? -1 : 0;
}

void kage_loop_dispatch(struct kage_loop *loop)
{
    dispatch(loop, 0);
}

int kage_loop_run(struct kage_loop *loop, struct kage_error *err)
{
    loop->quit = false;
    while (!loop->quit) {
        int r;

        do_what_is_due(loop);
        if (loop->quit)
            break;
        r = loop->driver ? loop->driver(loop->driver_user) : dispatch(loop, -1);
        if (r < 0)
            return kage_error_errno(err, KAGE_CLASS_INTERNAL, errno, "the event loop failed");
    }
    return 0;
}

void kage_loop_quit(struct kage_loop *loop)
{
    loop->quit = true;
}
