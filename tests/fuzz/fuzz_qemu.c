/* Anything that comes out of QEMU: its control channel in pieces of any size, the guest's console,
 * the table of forwarded ports. The first byte is the size of the pieces. */
#include <cjson/cJSON.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/qemu/console.h"
#include "runner/qemu/qmp.h"
#include "tests/fuzz/fuzz.h"

static bool lost;

static void on_lost(const char *why, void *user)
{
    PROMISE(!lost && why && *why);
    lost = true;
    kage_loop_quit(user);
}

static void on_event(const char *name, const struct cJSON *data, void *user)
{
    PROMISE(!lost && name);
}

static void on_result(const struct cJSON *result, const char *error, void *user)
{
    PROMISE(!lost && !result == !!error);
}

static void speak(const uint8_t *data, size_t size)
{
    static const struct kage_qmp_handler handler = {.on_lost = on_lost, .on_event = on_event};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_loop *loop;
    struct kage_qmp *qmp;
    int pair[2];

    lost = false;
    PROMISE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    PROMISE(kage_loop_new(&loop, &err) == 0);
    PROMISE(kage_qmp_new(loop, pair[0], &handler, loop, &qmp, &err) == 0);
    for (int i = 0; i < 4; i++)
        kage_qmp_execute(qmp, "query-status", NULL, -1, on_result, NULL);
    PROMISE(write(pair[1], data, size) == (ssize_t)size);
    shutdown(pair[1], SHUT_WR);
    PROMISE(kage_loop_run(loop, &err) == 0 && lost);
    kage_qmp_free(qmp);
    kage_loop_free(loop);
    close(pair[1]);
}

static void print(const uint8_t *data, size_t size, size_t piece)
{
    static struct kage_console whole, pieces;

    memset(&whole, 0, sizeof whole);
    memset(&pieces, 0, sizeof pieces);
    kage_console_add(&whole, (const char *)data, size);
    for (size_t i = 0; i < size; i += piece)
        kage_console_add(&pieces, (const char *)data + i, size - i < piece ? size - i : piece);
    PROMISE(whole.panicked == pieces.panicked);
    PROMISE(strcmp(whole.panic, pieces.panic) == 0);
    for (unsigned lines = 0; lines < 30; lines += 9) {
        KAGE_CLEANUP(kage_freep) char *a = kage_console_tail(&whole, lines);
        KAGE_CLEANUP(kage_freep) char *b = kage_console_tail(&pieces, lines);
        PROMISE(strcmp(a, b) == 0 && kage_utf8_valid(a, strlen(a)));
        for (const char *p = a; *p; p++)
            PROMISE(*p == '\n' || ((unsigned char)*p >= 0x20 && *p != 0x7f));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    size_t piece = 1 + data[0];
    data++;
    size--;
    print(data, size, piece);
    KAGE_CLEANUP(kage_freep) char *text = kage_alloc(size + 1);
    if (size)
        memcpy(text, data, size);
    PROMISE(kage_qmp_forwarded_port(text, "10.0.2.15", 8080) <= 65535);
    if (size <= 65536)
        speak(data, size);
    return 0;
}
