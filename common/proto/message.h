#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/proto/frame.h"

/*
 * JSON payloads as C structs. One table per message type (message.c) names every
 * field, its type, whether it must be there and its range; the decoder, the
 * encoder and docs/protocol.md follow it. Decoding is the one validator that
 * untrusted bytes pass through on either side: unknown fields are ignored,
 * duplicate or differently-cased names, wrong types, numbers that are not
 * integers or out of range, NUL inside strings and invalid UTF-8 are errors.
 *
 * Strings and lists in a decoded message are owned by it; see kage_msg_done().
 */
struct kage_str_list {
    char **items;
    size_t n;
};

struct kage_u32_list {
    uint32_t *items;
    size_t n;
};

/* Values of one payload, nested ones counted; as a tree they weigh some 40 MiB. More arguments than
 * that fit into no command line: each takes nine bytes, and the kernel gives all of them 2 MiB. */
#define KAGE_MSG_VALUES_MAX 262144u

/* Optional integers are int64_t and KAGE_UNSET when absent. */
#define KAGE_UNSET INT64_MIN

struct kage_msg {
    int type;
    int64_t id; /* echoed in the reply; KAGE_UNSET when the request had none */
    union {
        struct {
            char *command;
            struct kage_str_list args;
            char *cwd;
            int64_t uid, gid;
            bool network, pty;
            char *seccomp_profile; /* default, strict, none; the seed's nodejs, python, minimal */
            /* extensions */
            struct kage_str_list env; /* "NAME=value", on the wire an object */
            char *user;               /* looked up in the guest; wins over uid and gid */
            struct kage_u32_list groups;
            int64_t rows, cols;
            bool detach;
            bool no_stdin;                     /* standard input is /dev/null */
            bool builtin;                      /* command is an applet of vmd's own busybox */
            bool private_network;              /* a network namespace of its own, loopback only */
            int64_t max_processes, max_memory; /* memory in bytes */
        } spawn;
        struct {
            char *handle;
            char *data; /* bytes after decoding, may hold NUL */
            size_t data_len;
        } input; /* stdin; stdin_close has only the handle */
        struct {
            char *handle;
            int64_t signal; /* 1 to 64, 15 when absent */
        } kill;
        struct {
            char *handle;
            int64_t rows, cols;
        } resize;
        struct {
            char *tag; /* the 9p mount tag, or the block device's serial for disk */
            char *mount_point;
            bool read_only;
            char *fs;     /* extension: "9p" (default), "tmpfs", "disk" */
            int64_t size; /* extension: bytes, for tmpfs */
        } mount;
        struct {
            char *mount_point;
        } unmount;
        struct {
            int64_t uid;
            char *username;
            /* extensions */
            int64_t gid;
            struct kage_u32_list groups;
            char *home, *shell;
        } session_create;
        struct {
            char *name;
            char *data;
            size_t data_len;
            bool executable;
        } binary_install;
        struct {
            char *path;
        } fs_read;
        struct {
            char *session_id;
            char *state_path;
        } load_state;
        struct {
            char *handle;
        } is_running;
        struct {
            int64_t uid;
            bool delete_home;
        } session_destroy;
        struct {
            int64_t version;
            struct kage_str_list features;
        } hello;
        struct {
            int64_t time_us; /* CLOCK_REALTIME; microseconds stay exact in a JSON number */
            char *entropy;   /* bytes after decoding */
            size_t entropy_len;
        } resume;
        struct {
            int64_t port; /* this or path */
            char *path;
            bool network; /* the port is looked for where commands with network are */
        } probe;
        struct {
            int64_t max_processes;
        } prepare;
        struct {
            int64_t pid;
            char *handle;
            int64_t asked_us, started_us; /* extension, see docs/protocol.md: times */
        } spawned;
        struct {
            char *data;
            size_t data_len;
        } output; /* stdout, stderr (text or "encoding":"base64"), data (always base64) */
        struct {
            int64_t code, signal;
            bool out_of_memory; /* extension: the kernel killed it for its memory limit */
            int64_t ended_us;   /* extension: times */
        } exit;
        struct {
            int64_t code;
            char *message;
            int64_t errnum; /* extension "errno" */
        } error;
        struct {
            int64_t uid, gid; /* set in the reply to session_create */
            char *username, *home_dir;
        } ok;
        struct {
            char *handle;
            bool running;
            int64_t pid;
        } running_status;
        struct {
            bool connected;
            char *interface, *ip_address;
        } network_status;
        struct {
            int64_t version;
            struct kage_str_list features;
            int64_t frame_max, stdin_window;
            char *boot_id;
            int64_t began_us, listening_us, now_us; /* extension: times */
        } hello_ok;
        struct {
            char *handle;
            int64_t bytes; /* how many more bytes may be sent */
        } stdin_window;
    };
};

/* A message of that type with every optional field absent. */
void kage_msg_init(struct kage_msg *msg, enum kage_msg_type type);

/* Decodes the JSON payload of a frame. Returns 0, or a kage_rpc_error with *why set (owned, one
 * sentence naming the field); msg->id is set when it could be read, so that an error can echo it.
 * Raw types (stdin_raw, stdout_raw, stderr_raw) are not for this function. */
int kage_msg_decode(struct kage_msg *msg, enum kage_msg_type type, const uint8_t *payload,
                    size_t len, char **why);

/* Appends the JSON payload, fields in table order, absent ones left out: the same message gives
 * the same bytes. Text that is not valid UTF-8 goes out as base64 where the field allows it. */
void kage_msg_encode(const struct kage_msg *msg, struct kage_buf *out);

void kage_msg_done(struct kage_msg *msg);
