#pragma once

#include <stdint.h>

/*
 * Between vmd and sandbox-helper: datagrams on a SOCK_SEQPACKET pair whose number
 * the helper gets as --status-fd. Both ends are the same build for the same
 * machine, so the structs are in host order.
 *
 * helper → vmd, in this order: STARTED (the command has been exec'd), then EXITED;
 * or one of SETUP_FAILED, EXEC_FAILED and nothing more. A helper that goes away
 * without EXITED did not finish its command: vmd reports SIGKILL.
 * vmd → helper: SIGNAL. End of file on the socket ends the whole command.
 */
enum kage_sandbox_msg_kind {
    KAGE_SANDBOX_STARTED = 1,
    KAGE_SANDBOX_SETUP_FAILED = 2, /* value: errno; text: what was being done */
    KAGE_SANDBOX_EXEC_FAILED = 3,  /* value: errno */
    KAGE_SANDBOX_EXITED = 4,       /* value: wait status as waitpid() gives it */
    KAGE_SANDBOX_SIGNAL = 16,      /* value: signal for the command's process group */
};

struct kage_sandbox_msg {
    uint32_t kind;
    int32_t value;
    char text[120]; /* NUL-terminated */
};
