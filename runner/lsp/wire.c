#include "runner/lsp/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"

/* A spec has at most 1 MiB; escaped as JSON, and with room for what else a message holds. */
#define MAX_MESSAGE ((size_t)16 * 1024 * 1024)
#define MAX_HEADER 4096

static bool read_exactly(int fd, char *to, size_t n)
{
    while (n) {
        ssize_t got = read(fd, to, n);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        if (got > 0) {
            to += got;
            n -= (size_t)got;
        }
    }
    return true;
}

cJSON *kage_lsp_read(int fd)
{
    char header[MAX_HEADER];
    size_t n = 0;
    /* headers are short and come once per message: byte by byte needs no buffer between calls */
    while (n < 4 || memcmp(header + n - 4, "\r\n\r\n", 4) != 0)
        if (n + 1 >= sizeof(header) || !read_exactly(fd, header + n++, 1))
            return NULL;
    header[n] = '\0';
    const char *length = strcasestr(header, "Content-Length:");
    size_t size = length ? strtoul(length + strlen("Content-Length:"), NULL, 10) : 0;
    if (size == 0 || size > MAX_MESSAGE)
        return NULL;
    KAGE_CLEANUP(kage_freep) char *body = kage_alloc(size + 1);
    return read_exactly(fd, body, size) ? cJSON_ParseWithLength(body, size) : NULL;
}

int kage_lsp_write(int fd, cJSON *message)
{
    char *body = cJSON_PrintUnformatted(message);
    KAGE_CLEANUP(kage_buf_done) struct kage_buf out = {0};
    cJSON_Delete(message);
    kage_buf_addf(&out, "Content-Length: %zu\r\n\r\n", body ? strlen(body) : 0);
    kage_buf_adds(&out, body ? body : "");
    cJSON_free(body);
    for (size_t done = 0; done < out.len;) {
        ssize_t n = write(fd, out.data + done, out.len - done);
        if (n < 0 && errno != EINTR)
            return -1;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}
