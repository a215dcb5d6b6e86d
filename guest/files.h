#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/base/buf.h"

struct kage_guest;
struct kage_msg;
struct kage_refusal;

/* Reads a regular file of at most `max` bytes. Anything else (a FIFO, a device, a magic link of
 * /proc) is refused without blocking: commands can put what they like at a path. `code` is the
 * kage_rpc_error to refuse with. */
int kage_file_read(const char *path, size_t max, struct kage_buf *ret, int code,
                   struct kage_refusal *why);

/* Replaces `path` in one step: readers see the old or the new bytes. Missing folders are made. */
int kage_file_write(const char *path, const void *data, size_t len, mode_t mode, int code,
                    struct kage_refusal *why);

/* mkdir -p with mode 0755. */
int kage_make_folders(const char *path);

/* Whether path is absolute and has no "//", "/./", "/../", trailing slash or control character. */
bool kage_path_is_normal(const char *path);

/* Removes a folder and all below it, without following links and without leaving its file
 * system. */
int kage_remove_tree(const char *path);

int kage_binary_install(struct kage_guest *guest, const struct kage_msg *request,
                        struct kage_refusal *why);
int kage_fs_read(const struct kage_msg *request, struct kage_buf *ret, struct kage_refusal *why);
int kage_load_state(const struct kage_msg *request, struct kage_buf *ret, struct kage_refusal *why);
