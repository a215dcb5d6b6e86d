#include "common/loop/conn.h"

void kage_conn_send(struct kage_conn *conn, const void *head, size_t head_len, const void *body,
                    size_t body_len)
{
    conn->kind->send(conn, head, head_len, body, body_len);
}

size_t kage_conn_queued(const struct kage_conn *conn)
{
    return conn->queued;
}

bool kage_conn_is_closed(const struct kage_conn *conn)
{
    return conn->closed;
}

void kage_conn_pause(struct kage_conn *conn, bool paused)
{
    conn->kind->pause(conn, paused);
}

void kage_conn_close(struct kage_conn *conn)
{
    conn->kind->close(conn);
}

void kage_conn_set_user(struct kage_conn *conn, void *user)
{
    conn->user = user;
}

void kage_conn_set_handler(struct kage_conn *conn, const struct kage_conn_handler *handler,
                           void *user)
{
    conn->handler = handler;
    conn->user = user;
}

void kage_conn_queue(struct kage_conn *conn, size_t bytes)
{
    conn->queued += bytes;
    if (conn->queued > KAGE_CONN_HIGH_WATER)
        conn->above_high_water = true;
}

void kage_conn_drain(struct kage_conn *conn, size_t bytes)
{
    conn->queued -= bytes;
    if (!conn->above_high_water || conn->queued > KAGE_CONN_HIGH_WATER / 2)
        return;
    conn->above_high_water = false;
    if (conn->handler->on_drain)
        conn->handler->on_drain(conn, conn->user);
}
