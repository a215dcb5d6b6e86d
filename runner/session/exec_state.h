#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runner/report/output.h"
#include "runner/session/exec.h"
#include "runner/session/login.h"

struct kage_client;
struct kage_feed;
struct kage_loop;
struct kage_timer;
struct kage_ws;

/* Shared by exec.c (the connection, the command, signals) and exec_streams.c. */
#define KAGE_EXEC_PROCESS 1      /* the id of the only process of the connection */
#define KAGE_EXEC_HANGUP_MS 2000 /* what a command gets after its terminal or reader is gone */

struct kage_exec_state {
    const struct kage_exec *what;
    struct kage_exec_end *end;
    struct kage_loop *loop;
    struct kage_ws *ws;
    struct kage_client *client;
    struct kage_output *out, *err;
    struct kage_feed *feed;
    struct kage_timer *tick, *limit, *leave, *finished;
    struct kage_login login;
    char *handle; /* NULL until the command runs */
    uint64_t window, credit;
    uint64_t out_bytes;
    uint64_t interrupts_ms[2]; /* when the last two INTs were passed on, the later one first */
    bool reacted;              /* the command has written something since */
    unsigned ticks, kills;
    int leave_code;
    bool done, given_up, ready, in_root, out_broken, out_is_full, err_is_full;
};

/* Fixes the end; the output that waits is still written. Takes message. */
void kage_exec_finish(struct kage_exec_state *x, int code, char *message);
/* Ends without waiting for anybody; the closed connection ends what the command left behind. */
void kage_exec_give_up(struct kage_exec_state *x, int code, char *message);
void kage_exec_signal(struct kage_exec_state *x, int signo);
/* Gives up with this code unless the command ends before. */
void kage_exec_leave_later(struct kage_exec_state *x, int code, uint64_t ms);
bool kage_exec_is_written(const struct kage_exec_state *x);

void kage_exec_start_input(struct kage_exec_state *x);
/* Of struct kage_client_handler. */
void kage_exec_on_window(const char *handle, uint64_t bytes, void *user);
void kage_exec_on_output(uint32_t id, bool is_stderr, const uint8_t *data, size_t len, void *user);

extern const struct kage_output_handler kage_exec_out_handler, kage_exec_err_handler;
