#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/verbs.h"
#include "runner/vm/registry.h"

#define FOLLOW_EVERY_MS 100

static const char help[] = "usage: kage logs [options] ID\n"
                           "\n"
                           "Prints what a machine's kernel and vmd said on the serial console, and "
                           "why it ended if it has.\n"
                           "Control characters are shown as \\xNN.\n"
                           "\n"
                           "options:\n"
                           "  -f, --follow  go on until the machine ends\n"
                           "  -h, --help    show this help\n";

static void print_line(const char *line, size_t len)
{
    KAGE_CLEANUP(kage_freep) char *text = NULL;

    while (len && line[len - 1] == '\r')
        len--;
    text = kage_printable(line, len);
    puts(text);
}

/* Prints the whole lines of `pending` and keeps what is left. */
static void print_lines(struct kage_buf *pending)
{
    size_t done = 0;
    char *nl;

    while (done < pending->len && (nl = memchr(pending->data + done, '\n', pending->len - done))) {
        print_line(pending->data + done, (size_t)(nl - pending->data) - done);
        done = (size_t)(nl - pending->data) + 1;
    }
    kage_buf_consume(pending, done);
    fflush(stdout);
}

static void read_more(int fd, struct kage_buf *pending)
{
    char chunk[16384];
    ssize_t n;

    while ((n = read(fd, chunk, sizeof chunk)) > 0) {
        kage_buf_add(pending, chunk, (size_t)n);
        print_lines(pending);
    }
}

static int show(const struct kage_vm *vm, bool follow)
{
    static const char *const names[] = {"console.log.old", "console.log"};
    struct timespec nap = {.tv_nsec = FOLLOW_EVERY_MS * 1000000L};
    struct kage_buf pending = {0};
    int fd = -1;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", vm->folder, names[i]);

        kage_closep(&fd);
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            read_more(fd, &pending);
    }
    while (follow && fd >= 0 && kage_vm_wait_end(vm, 0)) {
        nanosleep(&nap, NULL);
        read_more(fd, &pending);
    }
    if (fd >= 0)
        read_more(fd, &pending);
    if (pending.len)
        print_line(pending.data, pending.len);
    kage_buf_done(&pending);
    kage_closep(&fd);
    if (vm->reason)
        fprintf(stderr, "kage: machine %s (%s) has ended: %s\n", vm->id, vm->name, vm->reason);
    return fflush(stdout) != 0;
}

int kage_verb_logs(int argc, char **argv)
{
    static const struct option longs[] = {
        {"follow", no_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_vm vm = {0};
    bool follow = false;
    int c, code;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "fh", longs, NULL)) != -1) {
        if (c == 'h')
            return fputs(help, stdout) < 0;
        if (c != 'f')
            return -2 * kage_usage("logs", "unknown option '%s'", argv[optind - 1]);
        follow = true;
    }
    if (argc - optind != 1)
        return -2 * kage_usage("logs", "it takes one machine");
    if (kage_vm_find(argv[optind], &vm, &err) < 0) {
        fprintf(stderr, "kage: %s\n", err.message);
        kage_error_done(&err);
        return 1;
    }
    code = show(&vm, follow);
    kage_vm_done(&vm);
    return code;
}
