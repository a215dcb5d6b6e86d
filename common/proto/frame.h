#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The wire: every binary WebSocket message is one frame,
 *     [type:u8][len:u32 little endian][payload: len bytes]
 * with nothing after it; on a serial port the frames come one behind the other.
 * docs/protocol.md is the reference.
 */
#define KAGE_FRAME_HEADER 5u
#define KAGE_FRAME_MAX (16u * 1024u * 1024u) /* payload bytes; longer is an error */
#define KAGE_CHUNK_MAX (64u * 1024u)         /* output and stdin bytes per frame */
#define KAGE_STDIN_WINDOW (256u * 1024u)     /* stdin bytes a client may have in flight */
#define KAGE_AGENT_PORT 8080u                /* where vmd listens in a guest that can be reached */
#define KAGE_CONTROL_PORT "kage.control"     /* the virtio-serial port that leads to kage */
#define KAGE_PROTOCOL_VERSION 1
#define KAGE_TOKEN_HEX 64u /* 256 bits in hexadecimal digits */
#define KAGE_TOKEN_FW_CFG "opt/kage/token"

/* Numbers 0x01–0x0C, 0x81–0x89, 0xF0 and 0xF1 are the seed's and keep its meaning. */
enum kage_msg_type {
    KAGE_MSG_SPAWN = 0x01,
    KAGE_MSG_STDIN = 0x02,
    KAGE_MSG_KILL = 0x03,
    KAGE_MSG_RESIZE = 0x04,
    KAGE_MSG_MOUNT = 0x05,
    KAGE_MSG_UNMOUNT = 0x06,
    KAGE_MSG_SESSION_CREATE = 0x07,
    KAGE_MSG_BINARY_INSTALL = 0x08,
    KAGE_MSG_FS_READ = 0x09,
    KAGE_MSG_LOAD_STATE = 0x0A,
    KAGE_MSG_IS_RUNNING = 0x0B,
    KAGE_MSG_SESSION_DESTROY = 0x0C,
    /* extensions, after hello */
    KAGE_MSG_HELLO = 0x10,
    KAGE_MSG_STDIN_CLOSE = 0x11,
    KAGE_MSG_STDIN_RAW = 0x12, /* [id:u32 LE][bytes]; no reply, bounded by the window */
    KAGE_MSG_RESUME = 0x13,    /* clock and entropy for a machine that was restored */
    KAGE_MSG_PROBE = 0x14,     /* does a port take connections, is a path there */
    KAGE_MSG_PARK = 0x15,      /* this connection's processes go on without it */
    KAGE_MSG_ADOPT = 0x16,     /* parked processes are this connection's now */
    KAGE_MSG_PREPARE = 0x17,   /* make the sandbox of the next command ahead of it */

    KAGE_MSG_SPAWNED = 0x81,
    KAGE_MSG_STDOUT = 0x82,
    KAGE_MSG_STDERR = 0x83,
    KAGE_MSG_EXIT = 0x84,
    KAGE_MSG_ERROR = 0x85,
    KAGE_MSG_OK = 0x86,
    KAGE_MSG_DATA = 0x87,
    KAGE_MSG_RUNNING_STATUS = 0x88,
    KAGE_MSG_NETWORK_STATUS = 0x89,
    /* extensions */
    KAGE_MSG_HELLO_OK = 0x90,
    KAGE_MSG_STDOUT_RAW = 0x91, /* [id:u32 LE][bytes] */
    KAGE_MSG_STDERR_RAW = 0x92, /* [id:u32 LE][bytes] */
    KAGE_MSG_STDIN_WINDOW = 0x93,

    KAGE_MSG_PING = 0xF0,
    KAGE_MSG_PONG = 0xF1,
};

/* error.code: JSON-RPC's numbers, then the seed's. */
enum kage_rpc_error {
    KAGE_RPC_PARSE = -32700,
    KAGE_RPC_INVALID_REQUEST = -32600,
    KAGE_RPC_UNKNOWN_TYPE = -32601,
    KAGE_RPC_INVALID_PARAMS = -32602,
    KAGE_RPC_INTERNAL = -32603,
    KAGE_RPC_SPAWN = -32000,
    KAGE_RPC_NO_PROCESS = -32001,
    KAGE_RPC_MOUNT = -32002,
    KAGE_RPC_USER = -32003,
    KAGE_RPC_INSTALL = -32004,
};

/* "spawn", "session_create", … or NULL for a number that means nothing. */
const char *kage_msg_name(int type);

/* Writes the header of a frame with a payload of `len` bytes. */
void kage_frame_header(uint8_t out[KAGE_FRAME_HEADER], enum kage_msg_type type, uint32_t len);

/* Takes one message apart. Returns 0, or a kage_rpc_error with *why set to a static
 * text; *type is then valid if at least one byte was there, else -1. The payload is borrowed. */
int kage_frame_parse(const uint8_t *data, size_t len, int *type, const uint8_t **payload,
                     size_t *payload_len, const char **why);
