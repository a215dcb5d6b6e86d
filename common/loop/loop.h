#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

/*
 * A single-threaded event loop over epoll. kage and vmd each have one.
 *
 * Watches, timers and the signal handler may be freed from inside any callback,
 * their own included. Nothing here owns the descriptors it watches.
 */
struct kage_loop;
struct kage_watch;
struct kage_timer;

typedef void (*kage_watch_fn)(uint32_t events, void *user);
typedef void (*kage_timer_fn)(void *user);
typedef void (*kage_signal_fn)(int signo, void *user);

int kage_loop_new(struct kage_loop **ret, struct kage_error *err);
void kage_loop_free(struct kage_loop *loop);

/* Runs until kage_loop_quit(). Returns -1 only if waiting itself fails. */
int kage_loop_run(struct kage_loop *loop, struct kage_error *err);
void kage_loop_quit(struct kage_loop *loop);

/* `events` are EPOLLIN, EPOLLOUT, EPOLLRDHUP; EPOLLHUP and EPOLLERR always come with them. A watch
 * set to 0 is out of the epoll set altogether, so a hung-up descriptor does not spin. */
int kage_watch_new(struct kage_loop *loop, int fd, uint32_t events, kage_watch_fn fn, void *user,
                   struct kage_watch **ret, struct kage_error *err);
void kage_watch_set(struct kage_watch *watch, uint32_t events);
void kage_watch_free(struct kage_watch *watch);

/* One-shot timers on CLOCK_MONOTONIC. kage_timer_set(t, 0) disarms. */
int kage_timer_new(struct kage_loop *loop, kage_timer_fn fn, void *user, struct kage_timer **ret,
                   struct kage_error *err);
void kage_timer_set(struct kage_timer *timer, uint64_t delay_ms);
void kage_timer_free(struct kage_timer *timer);

/* Something to be done once before the loop waits next, however often it is asked for until then;
 * what was asked for first comes first. The caller's; fn and user are set by it, the rest is the
 * loop's. */
struct kage_later {
    void (*fn)(void *user);
    void *user;
    struct kage_later *next;
    bool due;
};

void kage_loop_later(struct kage_loop *loop, struct kage_later *later);
void kage_loop_not_later(struct kage_loop *loop, struct kage_later *later);

/* Blocks the signals in `set` for the process and delivers them here instead (signalfd). Children
 * must unblock them before exec. One handler per loop; the mask is as before once it is freed. */
int kage_loop_signals(struct kage_loop *loop, const sigset_t *set, kage_signal_fn fn, void *user,
                      struct kage_error *err);

/* Those of the signals that the program was not started to ignore: nohup, and a shell's background
 * jobs, count on it that one that is ignored stays so, and a blocked one would reach the loop. */
void kage_loop_unignored(const int *signals, size_t n, sigset_t *ret);

/* Milliseconds on CLOCK_MONOTONIC. */
uint64_t kage_now_ms(void);
uint64_t kage_now_us(void);

/*
 * For a library that insists on waiting by itself (libwebsockets): it waits on
 * kage_loop_fd() beside its own descriptors and calls kage_loop_dispatch() when
 * that is readable; `driver` is called in place of epoll_wait by kage_loop_run().
 */
int kage_loop_fd(struct kage_loop *loop);
void kage_loop_dispatch(struct kage_loop *loop);
void kage_loop_set_driver(struct kage_loop *loop, int (*driver)(void *user), void *user);
