#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A connection that carries whole messages both ways, whatever is below it: a
 * WebSocket (ws.h), or frames on a descriptor (line.h).
 */
struct kage_conn;

/* `user` is what kage_conn_set_user() or kage_conn_set_handler() said last. */
struct kage_conn_handler {
    /* The connection stands; before anything else. A line stands from the start and has none. */
    void (*on_open)(struct kage_conn *conn, void *user);
    void (*on_message)(struct kage_conn *conn, const uint8_t *data, size_t len, void *user);
    /* The send queue fell to half of KAGE_CONN_HIGH_WATER or below after having been above it. */
    void (*on_drain)(struct kage_conn *conn, void *user);
    /* A WebSocket's pointer is dead after this. */
    void (*on_close)(struct kage_conn *conn, const char *reason, void *user);
};

/* Senders are expected to stop at this many queued bytes and to go on at on_drain. */
#define KAGE_CONN_HIGH_WATER (256u * 1024u)

/* What a kind of connection does itself. */
struct kage_conn_kind {
    void (*send)(struct kage_conn *conn, const void *head, size_t head_len, const void *body,
                 size_t body_len);
    void (*pause)(struct kage_conn *conn, bool paused);
    void (*close)(struct kage_conn *conn);
};

/* The first member of every kind's own. */
struct kage_conn {
    const struct kage_conn_kind *kind;
    const struct kage_conn_handler *handler;
    void *user;
    size_t queued; /* bytes not yet handed to the kernel */
    bool above_high_water;
    bool closed; /* a line stays as an object when it has ended */
};

/* Queues one message made of two parts (the second may be empty). Copies. */
void kage_conn_send(struct kage_conn *conn, const void *head, size_t head_len, const void *body,
                    size_t body_len);
size_t kage_conn_queued(const struct kage_conn *conn);
bool kage_conn_is_closed(const struct kage_conn *conn);

/* Stops and resumes reading, so that the peer is held back. */
void kage_conn_pause(struct kage_conn *conn, bool paused);

/* Closes after what is queued has been sent; on_close follows from the loop. */
void kage_conn_close(struct kage_conn *conn);

void kage_conn_set_user(struct kage_conn *conn, void *user);
void kage_conn_set_handler(struct kage_conn *conn, const struct kage_conn_handler *handler,
                           void *user);

/* For the kinds: bytes came into the queue, or left it. */
void kage_conn_queue(struct kage_conn *conn, size_t bytes);
void kage_conn_drain(struct kage_conn *conn, size_t bytes);
