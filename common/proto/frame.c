#include "common/proto/frame.h"

static const char *const names[256] = {
    [KAGE_MSG_SPAWN] = "spawn",
    [KAGE_MSG_STDIN] = "stdin",
    [KAGE_MSG_KILL] = "kill",
    [KAGE_MSG_RESIZE] = "resize",
    [KAGE_MSG_MOUNT] = "mount",
    [KAGE_MSG_UNMOUNT] = "unmount",
    [KAGE_MSG_SESSION_CREATE] = "session_create",
    [KAGE_MSG_BINARY_INSTALL] = "binary_install",
    [KAGE_MSG_FS_READ] = "fs_read",
    [KAGE_MSG_LOAD_STATE] = "load_state",
    [KAGE_MSG_IS_RUNNING] = "is_running",
    [KAGE_MSG_SESSION_DESTROY] = "session_destroy",
    [KAGE_MSG_HELLO] = "hello",
    [KAGE_MSG_STDIN_CLOSE] = "stdin_close",
    [KAGE_MSG_STDIN_RAW] = "stdin_raw",
    [KAGE_MSG_RESUME] = "resume",
    [KAGE_MSG_PROBE] = "probe",
    [KAGE_MSG_PARK] = "park",
    [KAGE_MSG_ADOPT] = "adopt",
    [KAGE_MSG_PREPARE] = "prepare",
    [KAGE_MSG_SPAWNED] = "spawned",
    [KAGE_MSG_STDOUT] = "stdout",
    [KAGE_MSG_STDERR] = "stderr",
    [KAGE_MSG_EXIT] = "exit",
    [KAGE_MSG_ERROR] = "error",
    [KAGE_MSG_OK] = "ok",
    [KAGE_MSG_DATA] = "data",
    [KAGE_MSG_RUNNING_STATUS] = "running_status",
    [KAGE_MSG_NETWORK_STATUS] = "network_status",
    [KAGE_MSG_HELLO_OK] = "hello_ok",
    [KAGE_MSG_STDOUT_RAW] = "stdout_raw",
    [KAGE_MSG_STDERR_RAW] = "stderr_raw",
    [KAGE_MSG_STDIN_WINDOW] = "stdin_window",
    [KAGE_MSG_PING] = "ping",
    [KAGE_MSG_PONG] = "pong",
};

const char *kage_msg_name(int type)
{
    return type >= 0 && type < 256 ? names[type] : 0;
}

void kage_frame_header(uint8_t out[KAGE_FRAME_HEADER], enum kage_msg_type type, uint32_t len)
{
    out[0] = (uint8_t)type;
    for (int i = 0; i < 4; i++)
        out[1 + i] = (uint8_t)(len >> (8 * i));
}

int kage_frame_parse(const uint8_t *data, size_t len, int *type, const uint8_t **payload,
                     size_t *payload_len, const char **why)
{
    uint32_t claimed = 0;

    *type = len ? data[0] : -1;
    if (len < KAGE_FRAME_HEADER) {
        *why = "a frame needs a header of 5 bytes";
        return KAGE_RPC_INVALID_REQUEST;
    }
    for (int i = 0; i < 4; i++)
        claimed |= (uint32_t)data[1 + i] << (8 * i);
    if (claimed > KAGE_FRAME_MAX) {
        *why = "the frame is longer than 16 MiB";
        return KAGE_RPC_INVALID_REQUEST;
    }
    if (claimed != len - KAGE_FRAME_HEADER) {
        *why = "the length in the header is not that of the payload";
        return KAGE_RPC_INVALID_REQUEST;
    }
    if (!names[data[0]]) {
        *why = "unknown message type";
        return KAGE_RPC_UNKNOWN_TYPE;
    }
    *payload = data + KAGE_FRAME_HEADER;
    *payload_len = claimed;
    return 0;
}
