#pragma once

#include <stdbool.h>

#include "common/base/error.h"

struct cJSON;
struct kage_loop;

/*
 * QMP, QEMU's control protocol, on a descriptor that is already connected.
 * Replies come in the order of the commands.
 */
struct kage_qmp;

struct kage_qmp_handler {
    /* The stream ended or held something that is not QMP. Called once; the kage_qmp must
     * outlive the call. */
    void (*on_lost)(const char *why, void *user);
    /* An event by its name; data is borrowed and may be NULL. */
    void (*on_event)(const char *name, const struct cJSON *data, void *user);
};

/* `result` is QEMU's "return" value (borrowed), or NULL with `error` its description. */
typedef void (*kage_qmp_fn)(const struct cJSON *result, const char *error, void *user);

/* Takes ownership of fd and negotiates capabilities. Commands may be queued at once. */
int kage_qmp_new(struct kage_loop *loop, int fd, const struct kage_qmp_handler *handler, void *user,
                 struct kage_qmp **ret, struct kage_error *err);
void kage_qmp_free(struct kage_qmp *qmp);

/* Sends a command; takes ownership of `arguments` (may be NULL). `pass_fd` goes along as ancillary
 * data unless it is negative; it stays the caller's. */
void kage_qmp_execute(struct kage_qmp *qmp, const char *command, struct cJSON *arguments,
                      int pass_fd, kage_qmp_fn fn, void *user);

/* The host port that `info usernet` shows as forwarded to guest_address:guest_port, or 0. */
unsigned kage_qmp_forwarded_port(const char *usernet, const char *guest_address,
                                 unsigned guest_port);
