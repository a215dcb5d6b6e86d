#include "runner/copy/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/copy/child.h"
#include "runner/copy/pack.h"
#include "runner/copy/unpack.h"
#include "runner/session/exec.h"
#include "runner/vm/run_in.h"

enum { EXIT_NOT_COPIED = 1 };

static int complain(const struct kage_copy *c, const char *what, const char *name)
{
    fprintf(stderr, "kage %s: %s '%s'%s%s\n", c->verb, what, name, errno ? ": " : "",
            errno ? strerror(errno) : "");
    return EXIT_NOT_COPIED;
}

/* ---- what runs in the guest ---- */

/* Each line of what an applet said, as our own message about the guest. */
static void print_said(const struct kage_copy *c, const struct kage_buf *said)
{
    const char *at = said->data, *stop = at ? at + said->len : at;

    while (at < stop) {
        const char *end = memchr(at, '\n', (size_t)(stop - at));
        size_t n = end ? (size_t)(end - at) : (size_t)(stop - at);
        KAGE_CLEANUP(kage_freep) char *line = kage_printable(at, n);

        fprintf(stderr, "kage %s: in the guest: %s\n", c->verb, line);
        at += n + 1;
    }
}

static int applet(const struct kage_copy *c, const char *name, char *const *args, int n_args,
                  int in, int out, uint64_t out_max, struct kage_buf *said)
{
    struct kage_exec exec = {.command = name,
                             .args = args,
                             .n_args = (size_t)n_args,
                             .user = c->user,
                             .builtin = true,
                             .in = in,
                             .out = out,
                             .out_max = out_max,
                             .err = -1,
                             .err_text = said};

    return kage_vm_run(c->vm, &exec, c->verb);
}

int kage_copy_applet(const struct kage_copy *c, const char *name, char *const *args, int n_args,
                     bool quiet)
{
    struct kage_buf said = {0};
    int code = applet(c, name, args, n_args, -1, -1, 0, &said);

    if (!quiet)
        print_said(c, &said);
    kage_buf_done(&said);
    return code;
}

/* The verdict of two: the guest's tar and the child here. A broken pipe is only what the other's
 * failure looks like from the far side, so the other one's message is the one that helps. */
static int verdict(const struct kage_copy *c, int guest, int child, const struct kage_buf *said)
{
    bool pipe_broke = guest == 128 + SIGPIPE || child == 128 + SIGPIPE;

    if (guest != 0 && guest != 128 + SIGPIPE && (child == 0 || child == 128 + SIGPIPE))
        print_said(c, said);
    if (guest == KAGE_EXEC_NO_VERDICT || (guest > 128 && !pipe_broke))
        return guest;
    return guest || child ? EXIT_NOT_COPIED : 0;
}

/* ---- into the guest ---- */

static int pack_work(int fd, void *user)
{
    struct kage_error err = KAGE_ERROR_INIT;

    if (kage_pack(user, fd, &err) == 0)
        return 0;
    fprintf(stderr, "kage: %s\n", err.message);
    return EXIT_NOT_COPIED;
}

/* -o: files become the user's whose tar it is; -p: with their modes whatever the umask. */
static const char *const extract[] = {"-x", "-o", "-p", "-f", "-", "-C"};
enum { N_EXTRACT = sizeof extract / sizeof *extract };

static int extract_from(const struct kage_copy *c, int fd, const char *folder,
                        struct kage_buf *said)
{
    const char *args[N_EXTRACT + 1];

    memcpy(args, extract, sizeof extract);
    args[N_EXTRACT] = folder;
    return applet(c, "tar", (char *const *)args, N_EXTRACT + 1, fd, -1, 0, said);
}

int kage_copy_pack_in(const struct kage_copy *c, const struct kage_pack *what,
                      const char *guest_folder)
{
    struct kage_copy_child child;
    struct kage_buf said = {0};
    int guest, packed, code;

    if (kage_copy_child_start(pack_work, (void *)what, false, &child) < 0)
        return complain(c, "cannot read", what->source);
    guest = extract_from(c, child.fd, guest_folder, &said);
    packed = kage_copy_child_wait(&child);
    code = verdict(c, guest, packed, &said);
    kage_buf_done(&said);
    return code;
}

int kage_copy_tar_in(const struct kage_copy *c, const char *guest_folder)
{
    struct kage_buf said = {0};
    int code = extract_from(c, STDIN_FILENO, guest_folder, &said);

    print_said(c, &said);
    kage_buf_done(&said);
    return code;
}

/* ---- paths ---- */

struct split {
    char *folder, *name; /* owned */
    bool slash;          /* it ended with one */
    bool contents;       /* it ended with /. or is the root */
};

static void split_done(struct split *s)
{
    free(s->folder);
    free(s->name);
}

static void split_path(const char *path, struct split *ret)
{
    size_t n = strlen(path);
    const char *slash;

    *ret = (struct split){0};
    if ((n >= 2 && !strcmp(path + n - 2, "/.")) || !strcmp(path, ".")) {
        ret->contents = true;
        n -= 1;
    }
    while (n > 1 && path[n - 1] == '/') {
        ret->slash = true;
        n--;
    }
    if (n == 0 || (n == 1 && path[0] == '/')) {
        ret->contents = true;
        ret->folder = kage_strdup(n ? "/" : ".");
        ret->name = kage_strdup(".");
        return;
    }
    slash = memrchr(path, '/', n);
    ret->folder = slash == path ? kage_strdup("/")
                  : slash       ? kage_strndup(path, (size_t)(slash - path))
                                : kage_strdup(".");
    ret->name =
        slash ? kage_strndup(slash + 1, (size_t)(path + n - slash - 1)) : kage_strndup(path, n);
}

/* docker cp's way: a path in a machine begins at its root, whether it says so or not. */
static char *absolute(const char *path)
{
    return path[0] == '/' ? kage_strdup(path) : kage_asprintf("/%s", path);
}

/* 1: a folder; 0: none, or not there; else the exit code of a machine that cannot be asked. */
static int guest_folder(const struct kage_copy *c, const char *path, bool *ret)
{
    char *args[] = {(char *)"-d", (char *)path};
    int code = kage_copy_applet(c, "test", args, 2, true);

    *ret = code == 0;
    return code > 1 ? code : 0;
}

/* The name for a source that is called "." or "..": the folder's own. Owned. */
static char *own_name(const char *source, const char *name)
{
    char *real;
    char *last;

    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        return kage_strdup(name);
    real = realpath(source, NULL);
    last = kage_strdup(real && strrchr(real, '/')[1] ? strrchr(real, '/') + 1 : "root");
    free(real);
    return last;
}

int kage_copy_in(const struct kage_copy *c, const char *source, const char *guest_path)
{
    KAGE_CLEANUP(kage_freep) char *path = absolute(guest_path);
    KAGE_CLEANUP(kage_freep) char *top = NULL;
    struct kage_pack what = {.source = source, .follow = c->follow, .mode = -1};
    struct split from, to;
    struct stat st;
    bool into = false;
    int code;

    errno = 0;
    if ((c->follow ? stat : lstat)(source, &st) < 0)
        return complain(c, "cannot copy", source);
    code = guest_folder(c, path, &into);
    if (code)
        return code;
    split_path(source, &from);
    split_path(path, &to);
    if (into) {
        top = own_name(source, from.name);
        what.contents = from.contents;
    } else {
        top = kage_strdup(to.name);
    }
    what.top = top;
    if (!into && to.slash && !S_ISDIR(st.st_mode)) {
        errno = 0;
        code = complain(c, "the guest has no folder", path);
    } else {
        code = kage_copy_pack_in(c, &what, into ? path : to.folder);
    }
    split_done(&from);
    split_done(&to);
    return code;
}

/* ---- out of the guest ---- */

static int unpack_work(int fd, void *user)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_unpacked done = {0};

    if (kage_unpack(user, fd, &done, &err) < 0) {
        fprintf(stderr, "kage: %s\n", err.message);
        return EXIT_NOT_COPIED;
    }
    if (done.left_out)
        fprintf(stderr, "kage: %llu left out: neither file, folder nor link\n",
                (unsigned long long)done.left_out);
    return 0;
}

static int create_to(const struct kage_copy *c, const struct split *from, int out, uint64_t max,
                     struct kage_buf *said)
{
    /* As ./name, so that a name never looks like an option. */
    KAGE_CLEANUP(kage_freep) char *name = kage_asprintf("./%s", from->contents ? "" : from->name);
    KAGE_CLEANUP(kage_freep)
    char *folder = !from->contents            ? kage_strdup(from->folder)
                   : !strcmp(from->name, ".") ? kage_strdup(from->folder)
                                              : kage_asprintf("%s/%s", from->folder, from->name);
    const char *create[] = {"-c", "-f", "-", "-C", folder, name};
    const char *follow[] = {"-h", "-c", "-f", "-", "-C", folder, name};

    return c->follow ? applet(c, "tar", (char *const *)follow, 7, -1, out, max, said)
                     : applet(c, "tar", (char *const *)create, 6, -1, out, max, said);
}

int kage_copy_tar_out(const struct kage_copy *c, const char *guest_path)
{
    KAGE_CLEANUP(kage_freep) char *path = absolute(guest_path);
    struct kage_buf said = {0};
    struct split from;
    int code;

    split_path(path, &from);
    code = create_to(c, &from, STDOUT_FILENO, c->max_size, &said);
    print_said(c, &said);
    kage_buf_done(&said);
    split_done(&from);
    return code;
}

/* Opens the folder of the host that things go into, and says what their top is called there. */
static int open_target(const struct kage_copy *c, const struct split *from, const char *target,
                       struct kage_unpack *where, struct split *to)
{
    int fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        where->top = from->contents ? "" : from->name;
        return fd;
    }
    if ((errno != ENOENT && errno != ENOTDIR) || to->contents) {
        complain(c, "cannot open", target);
        return -1;
    }
    where->top = to->name;
    where->top_is_folder = to->slash;
    fd = open(to->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        complain(c, "cannot open", to->folder);
    return fd;
}

int kage_copy_out(const struct kage_copy *c, const char *guest_path, const char *target)
{
    KAGE_CLEANUP(kage_freep) char *path = absolute(guest_path);
    struct kage_unpack where = {.folder = -1, .max_size = c->max_size};
    struct kage_copy_child child;
    struct kage_buf said = {0};
    struct split from, to;
    int code = EXIT_NOT_COPIED, guest;

    split_path(path, &from);
    split_path(target, &to);
    where.strip = from.contents ? "." : from.name;
    errno = 0;
    if (!strcmp(from.name, ".."))
        complain(c, "cannot copy", path);
    else
        where.folder = open_target(c, &from, target, &where, &to);
    if (where.folder < 0)
        code = EXIT_NOT_COPIED; /* said already */
    else if (kage_copy_child_start(unpack_work, &where, true, &child) < 0)
        complain(c, "cannot write to", target);
    else {
        guest = create_to(c, &from, child.fd, 0, &said);
        code = verdict(c, guest, kage_copy_child_wait(&child), &said);
    }
    kage_closep(&where.folder);
    kage_buf_done(&said);
    split_done(&from);
    split_done(&to);
    return code;
}
