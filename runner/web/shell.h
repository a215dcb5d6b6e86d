#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct kage_loop;
struct kage_vm;
struct kage_ws;

/*
 * One shell on a machine, behind a connection to vmd of its own: what one shell floods or blocks
 * holds up no other, and closing the connection ends all of its processes. It keeps the last
 * KAGE_WEB_HISTORY bytes of output, counted from its first byte, so that a page can come back.
 */
struct kage_web_shell;

enum kage_web_shell_state {
    KAGE_WEB_SHELL_STARTING,
    KAGE_WEB_SHELL_RUNNING,
    KAGE_WEB_SHELL_EXITED,
    KAGE_WEB_SHELL_FAILED, /* it never ran */
    KAGE_WEB_SHELL_LOST,   /* the machine or the connection ended first */
    KAGE_WEB_SHELL_STATE_COUNT,
};

struct kage_web_shell_status {
    enum kage_web_shell_state state;
    bool silent;        /* running, but vmd has not answered for a while */
    int code, signal;   /* exited; signal 0 if none */
    const char *reason; /* failed, lost; borrowed, from the guest perhaps */
};

/* What every shell runs as: chosen by whoever started kage web, never by a page. */
struct kage_web_login {
    const char *user;
    const char *profile; /* NULL: the guest's default sandbox */
    bool network;
};

/* Called from the loop. The shell may not be freed from inside. */
struct kage_web_shell_handler {
    void (*on_output)(struct kage_web_shell *shell, void *user);
    void (*on_credit)(struct kage_web_shell *shell, size_t bytes, void *user);
    void (*on_change)(struct kage_web_shell *shell, void *user);
};

int kage_web_shell_new(struct kage_loop *loop, struct kage_ws *ws, uint32_t number,
                       const struct kage_vm *vm, const struct kage_web_login *login, uint16_t rows,
                       uint16_t cols, const struct kage_web_shell_handler *handler, void *user,
                       struct kage_web_shell **ret, struct kage_error *err);
void kage_web_shell_free(struct kage_web_shell *shell);

uint32_t kage_web_shell_number(const struct kage_web_shell *shell);
const char *kage_web_shell_vm(const struct kage_web_shell *shell); /* the machine's id */
const char *kage_web_shell_vm_name(const struct kage_web_shell *shell);
struct kage_web_shell_status kage_web_shell_status(const struct kage_web_shell *shell);

/* Queues input. Returns -1 if it is more than the credit allows. */
int kage_web_shell_input(struct kage_web_shell *shell, const void *data, size_t len);
size_t kage_web_shell_credit(const struct kage_web_shell *shell);
void kage_web_shell_resize(struct kage_web_shell *shell, uint16_t rows, uint16_t cols);
/* Has a full-screen program paint again, by a change of size and back. */
void kage_web_shell_redraw(struct kage_web_shell *shell);

/* Output is there from offset start to offset end. */
uint64_t kage_web_shell_start(const struct kage_web_shell *shell);
uint64_t kage_web_shell_end(const struct kage_web_shell *shell);
/* Copies up to `max` bytes from `offset`, which lies between the two. Returns how many. */
size_t kage_web_shell_read(const struct kage_web_shell *shell, uint64_t offset, void *out,
                           size_t max);
/* Stops and resumes output at its source. */
void kage_web_shell_hold(struct kage_web_shell *shell, bool held);

/* Asks vmd for a sign of life; call about once a second. */
void kage_web_shell_tick(struct kage_web_shell *shell);
