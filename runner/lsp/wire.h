#pragma once

#include <cJSON.h>

/* Messages of the Language Server Protocol 3.17: JSON behind a header, on two streams. */

/* The next message, owned; NULL at the end of the stream or when it is no message. */
cJSON *kage_lsp_read(int fd);

/* Sends a message and frees it. Returns -1 when nobody reads any more. */
int kage_lsp_write(int fd, cJSON *message);
