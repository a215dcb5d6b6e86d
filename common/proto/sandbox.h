#pragma once

#include <stdint.h>

/*
 * Between vmd and sandbox-helper: datagrams on a SOCK_SEQPACKET pair whose number
 * the helper gets as --status-fd. Both ends are the same build for the same
 * machine, so the structs are in host order.
 *
 * helper → vmd, in this order: STARTED (the command has been exec'd), ENDED (it is
 * dead; what it started may live), and if vmd answers that with REST, EXITED: all that
 * it started is dead, too. Or one of SETUP_FAILED, EXEC_FAILED and nothing more.
 * After ENDED and after EXITED the helper waits: for REST, or for the end of the socket,
 * at which it takes the namespaces apart. One that goes away without ENDED did not
 * finish its command: vmd reports SIGKILL.
 *
 * A helper started with --wait makes everything ready, says WAITING, and runs what the
 * ORDER says that comes then: a command line of the helper's own and an environment,
 * and if the command is not to have the helper's standard input, output and error,
 * others as SCM_RIGHTS.
 * vmd → helper: SIGNAL, REST. End of file on the socket ends the whole command.
 */
enum kage_sandbox_msg_kind {
    KAGE_SANDBOX_STARTED = 1,
    KAGE_SANDBOX_SETUP_FAILED = 2, /* value: errno; text: what was being done */
    KAGE_SANDBOX_EXEC_FAILED = 3,  /* value: errno */
    KAGE_SANDBOX_EXITED = 4,       /* all that the command started is dead */
    KAGE_SANDBOX_WAITING = 5,
    KAGE_SANDBOX_ENDED = 6,   /* value: wait status as waitpid() gives it */
    KAGE_SANDBOX_SIGNAL = 16, /* value: signal for the command's process group */
    KAGE_SANDBOX_ORDER = 17,  /* struct kage_sandbox_order */
    KAGE_SANDBOX_REST = 18,   /* end what the command has left behind */
};

struct kage_sandbox_msg {
    uint32_t kind;
    int32_t value;
    char text[120]; /* NUL-terminated */
};

/* Followed by argc + envc strings, each with its NUL, to the end of the datagram. */
struct kage_sandbox_order {
    uint32_t kind;
    uint32_t argc, envc;
};

/* What does not fit is for a helper that gets its command line by execve(). */
#define KAGE_SANDBOX_ORDER_BYTES (32u * 1024u)
#define KAGE_SANDBOX_ORDER_STRINGS 1024u
