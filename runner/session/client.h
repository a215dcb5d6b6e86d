#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/proto/message.h"

struct kage_conn;
struct kage_loop;
struct kage_ws;

/*
 * kage's side of the vmd protocol: one connection, requests with a reply each in
 * order, and what vmd sends on its own (output, exits, stdin credit). Nothing
 * from the guest gets past this file unchecked: a frame that does not decode, a
 * reply nobody asked for or an exit of an unknown process ends the connection.
 */
struct kage_client;

struct kage_client_handler {
    /* vmd answered hello and ping: the machine is ready. */
    void (*on_ready)(const struct kage_msg *hello_ok, void *user);
    void (*on_output)(uint32_t id, bool is_stderr, const uint8_t *data, size_t len, void *user);
    void (*on_exit)(uint32_t id, const struct kage_msg *exit, void *user);
    /* More of a process's standard input may be sent. */
    void (*on_window)(const char *handle, uint64_t bytes, void *user);
    /* The connection failed or ended, or the guest broke the protocol (class internal; else class
     * agent-lost). Called at most once, never from inside a function of this header. */
    void (*on_lost)(enum kage_class class, const char *why, void *user);
};

/* The reply is an ok, spawned, data or running_status message, or error. Borrowed. */
typedef void (*kage_client_fn)(const struct kage_msg *reply, void *user);

enum kage_client_flags {
    /* The machine was restored: the first request gives it the time and random bytes of its own,
     * before anything can run. */
    KAGE_CLIENT_RESUME = 1,
    /* vmd is to tell the moments at which things happen in the guest. */
    KAGE_CLIENT_TIMES = 2,
};

/* Greets vmd on a connection that leads to it already, and stays the caller's: it can carry one
 * client after the other. */
int kage_client_on_line(struct kage_loop *loop, struct kage_conn *line, unsigned flags,
                        const struct kage_client_handler *handler, void *user,
                        struct kage_client **ret, struct kage_error *err);
/* Connects to a machine that can be reached, with its token. */
int kage_client_connect(struct kage_loop *loop, struct kage_ws *ws, uint16_t port,
                        const char *token, const struct kage_client_handler *handler, void *user,
                        struct kage_client **ret, struct kage_error *err);
/* The guest's moment on this side's clock, in microseconds. */
uint64_t kage_client_host_us(const struct kage_client *client, int64_t guest_us);
void kage_client_free(struct kage_client *client);

/* Sends a request with an encoded JSON payload. fn is called with its reply, in order. */
void kage_client_request(struct kage_client *client, enum kage_msg_type type, const char *payload,
                         kage_client_fn fn, void *user);
/* Encodes and sends. */
void kage_client_request_msg(struct kage_client *client, const struct kage_msg *msg,
                             kage_client_fn fn, void *user);
/* Sends bytes of standard input to the process spawned under id; no reply. Requests about a process
 * that is fed this way name it by its handle and carry no id. */
void kage_client_stdin(struct kage_client *client, uint32_t id, const void *data, size_t len);

/* Says that a process under this id is expected to report output and an exit. */
void kage_client_expect(struct kage_client *client, uint32_t id);

/* Stops reading, so that vmd and its processes are held back. */
void kage_client_pause(struct kage_client *client, bool paused);

/* kage_now_ms() of the last sign of life; paused connections count as alive. */
uint64_t kage_client_last_heard(const struct kage_client *client);
void kage_client_ping(struct kage_client *client);
/* Pings since the last sign of life. Whoever gives a guest up counts these, not time: that forgives
 * a kage that was itself stopped for a while, and an answer in the very millisecond of the ping. */
unsigned kage_client_unanswered(const struct kage_client *client);
