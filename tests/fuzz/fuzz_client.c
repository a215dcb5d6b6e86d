/* A guest that sends anything in any order. The connection is made up here; everything behind it is
 * the client's own. Nothing reaches its user that the protocol does not allow: no output and no
 * exit of a process that does not run, nothing after the connection was given up. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"
#include "runner/session/client.h"
#include "tests/fuzz/fuzz.h"

/* ---- the connection ---- */

static void conn_send(struct kage_conn *c, const void *head, size_t head_len, const void *body,
                      size_t body_len)
{
}

static void conn_pause(struct kage_conn *c, bool paused)
{
}

static void conn_close(struct kage_conn *c)
{
}

static const struct kage_conn_kind kind = {
    .send = conn_send, .pause = conn_pause, .close = conn_close};
static struct kage_conn conn;
static const struct kage_conn_handler *clients; /* the client's, until it gives the connection up */

/* For machines that can be reached; here they are spoken to on a line. */
int kage_ws_connect(struct kage_ws *ws, const char *address, uint16_t port, const char *bearer,
                    size_t rx_max, const struct kage_conn_handler *handler, void *user,
                    struct kage_conn **ret, struct kage_error *err)
{
    abort();
}

static bool given_up(void)
{
    return conn.handler != clients;
}

/* ---- the client's user ---- */

static bool running[256], ready;

static void on_ready(const struct kage_msg *hello_ok, void *user)
{
    PROMISE(hello_ok->type == KAGE_MSG_HELLO_OK && !given_up());
    ready = true;
}

static void on_output(uint32_t id, bool is_stderr, const uint8_t *data, size_t len, void *user)
{
    PROMISE(id < 256 && running[id] && !given_up());
    for (size_t i = 0; i < len; i++)
        (void)*(volatile const uint8_t *)&data[i];
}

static void on_exit_of(uint32_t id, const struct kage_msg *exit, void *user)
{
    PROMISE(id < 256 && running[id] && !given_up());
    PROMISE(exit->exit.code >= 0 && exit->exit.code <= 255);
    running[id] = false;
}

static void on_window(const char *handle, uint64_t bytes, void *user)
{
    PROMISE(handle && !given_up() && bytes < UINT64_C(1) << 53);
}

static void on_lost(enum kage_class class, const char *why, void *user)
{
    PROMISE(given_up() && why && *why);
    kage_loop_quit(user);
}

static void on_reply(const struct kage_msg *reply, void *user)
{
    PROMISE(reply->type == KAGE_MSG_ERROR ? reply->error.message != NULL : !given_up());
}

/* ---- the guest ---- */

static void say(int type, const uint8_t *payload, size_t len)
{
    uint8_t *frame = kage_alloc(len + KAGE_FRAME_HEADER);

    kage_frame_header(frame, (enum kage_msg_type)type, (uint32_t)len);
    if (len)
        memcpy(frame + KAGE_FRAME_HEADER, payload, len);
    conn.handler->on_message(&conn, frame, len + KAGE_FRAME_HEADER, conn.user);
    free(frame);
}

static void say_text(int type, const char *text)
{
    say(type, (const uint8_t *)text, strlen(text));
}

static void act(struct kage_client *client, struct fuzz_input *in)
{
    static const enum kage_msg_type requests[] = {
        KAGE_MSG_SPAWN, KAGE_MSG_MOUNT, KAGE_MSG_FS_READ, KAGE_MSG_IS_RUNNING,
        KAGE_MSG_PING,  KAGE_MSG_KILL,  KAGE_MSG_HELLO,   KAGE_MSG_SESSION_CREATE};
    uint8_t what = fuzz_byte(in), detail = fuzz_byte(in);
    size_t len;
    const uint8_t *part;

    switch (what % 8) {
    case 0:
        kage_client_request(client, requests[detail % 8], "{}", on_reply, NULL);
        break;
    case 1:
        if (!running[detail]) /* an id is free again after its exit only */
            kage_client_expect(client, detail);
        running[detail] = true;
        break;
    case 2:
        kage_client_stdin(client, detail, "x", 1);
        break;
    case 3:
        part = fuzz_part(in, &len);
        conn.handler->on_message(&conn, part, len, conn.user);
        break;
    case 4:
        say_text(KAGE_MSG_HELLO_OK, "{\"version\":1,\"frame_max\":1,\"stdin_window\":1}");
        say_text(KAGE_MSG_PONG, "{}");
        break;
    default:
        part = fuzz_part(in, &len);
        say(detail, part, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kage_client_handler handler = {.on_ready = on_ready,
                                                       .on_output = on_output,
                                                       .on_exit = on_exit_of,
                                                       .on_window = on_window,
                                                       .on_lost = on_lost};
    struct fuzz_input in = {data, size};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_client *client;
    struct kage_loop *loop;

    memset(running, 0, sizeof running);
    ready = false;
    PROMISE(kage_loop_new(&loop, &err) == 0);
    conn = (struct kage_conn){.kind = &kind};
    PROMISE(kage_client_on_line(loop, &conn, fuzz_byte(&in) % 4, &handler, loop, &client, &err) ==
            0);
    clients = conn.handler;
    while (in.size)
        act(client, &in);
    if (given_up())
        PROMISE(kage_loop_run(loop, &err) == 0);
    kage_client_free(client);
    kage_loop_free(loop);
    kage_error_done(&err);
    return 0;
}
