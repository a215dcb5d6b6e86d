#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static int open_log(const struct kage_vm *vm, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", vm->folder, name);

    return open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

static bool same_file(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Reads on. A full log has been moved away and a new one has taken its name; between the two steps
 * there is none. */
static void read_on(const struct kage_vm *vm, int *fd, struct kage_buf *pending)
{
    KAGE_CLEANUP(kage_closep) int now = open_log(vm, "console.log");

    if (*fd >= 0)
        read_more(*fd, pending);
    if (now < 0 || (*fd >= 0 && same_file(now, *fd)))
        return;
    kage_closep(fd);
    *fd = kage_take_fd(&now);
    read_more(*fd, pending);
}

static void read_old(const struct kage_vm *vm, int current, struct kage_buf *pending)
{
    KAGE_CLEANUP(kage_closep) int old = open_log(vm, "console.log.old");

    /* Moved away since it was opened: then it is the one that is read next. */
    if (old >= 0 && !(current >= 0 && same_file(old, current)))
        read_more(old, pending);
}

static void tell_end(const char *id, const char *name, const char *reason)
{
    fprintf(stderr, "kage: machine %s (%s) has ended: %s\n", id, name, reason);
}

/* It lived when it was looked up; how it ended has been written down since. */
static void tell_end_of_followed(const struct kage_vm *vm)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_vm now = {0};

    if (kage_vm_find(vm->id, &now, &err) < 0)
        tell_end(vm->id, vm->name, "stopped");
    else if (now.reason)
        tell_end(now.id, now.name, now.reason);
    kage_vm_done(&now);
    kage_error_done(&err);
}

static int show(const struct kage_vm *vm, bool follow)
{
    struct timespec nap = {.tv_nsec = FOLLOW_EVERY_MS * 1000000L};
    struct kage_buf pending = {0};
    int fd = open_log(vm, "console.log");

    follow = follow && vm->owner;
    read_old(vm, fd, &pending);
    read_on(vm, &fd, &pending);
    while (follow && !ferror(stdout) && kage_vm_wait_end(vm, 0)) {
        nanosleep(&nap, NULL);
        read_on(vm, &fd, &pending);
    }
    read_on(vm, &fd, &pending);
    if (pending.len)
        print_line(pending.data, pending.len);
    kage_buf_done(&pending);
    kage_closep(&fd);
    fflush(stdout);
    if (follow && !ferror(stdout))
        tell_end_of_followed(vm);
    else if (vm->reason)
        tell_end(vm->id, vm->name, vm->reason);
    return kage_written(0);
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
            return kage_written(fputs(help, stdout) < 0);
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
