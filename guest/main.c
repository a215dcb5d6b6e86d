#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "common/loop/ws.h"
#include "common/proto/frame.h"
#include "guest/boot.h"
#include "guest/guest.h"
#include "guest/options.h"
#include "guest/reap.h"
#include "guest/server.h"

/* For whoever reads the console; kage waits for an answer on the control port. */
static void announce(const struct kage_guest *guest, uint16_t port)
{
    if (guest->machine)
        printf("kage: vmd ready\n");
    else
        printf("%u\n", port);
    fflush(stdout);
}

/* Everything vmd opens comes first, then the change of root, then clients. libwebsockets and what
 * it links to read their files before the root belongs to an image. */
static int serve(struct kage_guest *guest, struct kage_vmd_options *o, struct kage_error *err)
{
    struct kage_ws *ws = NULL;
    uint16_t port = 0;
    int r = -1;

    if (kage_loop_new(&guest->loop, err) == 0 &&
        (guest->token_fd < 0 || kage_ws_new(guest->loop, &ws, err) == 0) &&
        (guest->machine ? kage_boot_enter_root(guest, err)
                        : kage_boot_program_root(guest, o, err)) == 0 &&
        kage_reap_start(guest, err) == 0 &&
        (guest->control_fd < 0 ||
         kage_server_serve_line(guest, kage_take_fd(&guest->control_fd), err) == 0) &&
        (!ws || kage_server_listen(guest, ws, o->address, o->port, &port, err) == 0)) {
        guest->listening_us = kage_now_us();
        announce(guest, port);
        r = kage_loop_run(guest->loop, err);
    }
    kage_ws_free(ws);
    kage_server_done(guest);
    return r;
}

static int run(int argc, char **argv, struct kage_error *err)
{
    struct kage_vmd_options o = {.control_fd = -1};
    struct kage_guest guest;
    int r;

    kage_guest_init(&guest);
    guest.began_us = kage_now_us();
    if (getpid() == 1) {
        o.address = strdup("0.0.0.0");
        o.port = KAGE_AGENT_PORT;
        r = kage_boot_machine(&guest, err);
    } else {
        r = kage_vmd_options_parse(argc, argv, &o, err);
        if (r == 0 && (o.help || o.version)) {
            fputs(o.help ? kage_vmd_usage : "vmd " KAGE_VERSION "\n", stdout);
            kage_vmd_options_done(&o);
            return 0;
        }
        if (r == 0)
            r = kage_boot_program(&guest, &o, err);
    }
    if (r == 0)
        r = serve(&guest, &o, err);
    kage_guest_done(&guest);
    kage_loop_free(guest.loop);
    kage_vmd_options_done(&o);
    return r;
}

/* Messages come and go in chunks of 64 or 128 KiB. By default free() gives them back to the kernel
 * each time, and the next message pays for each of its pages once more. */
#define HEAP_KEPT (1024 * 1024)

int main(int argc, char **argv)
{
    struct kage_error err = KAGE_ERROR_INIT;

    mallopt(M_TRIM_THRESHOLD, HEAP_KEPT);
    mallopt(M_MMAP_THRESHOLD, HEAP_KEPT);
    if (run(argc, argv, &err) == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "kage: vmd: %s\n", err.message ? err.message : "stopped");
    kage_error_done(&err);
    /* Were PID 1 to exit, a kernel panic would bury that line. QEMU takes a reset for the end. */
    if (getpid() == 1)
        reboot(RB_AUTOBOOT);
    return EXIT_FAILURE;
}
