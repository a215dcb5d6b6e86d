#include "runner/template/inputs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

#define CHUNK (256u * 1024u)
#define DEPTH_MAX 200 /* one descriptor each */

struct walk {
    struct kage_sha256 *hash;
    const struct kage_plan_input *input;
    const struct kage_inputs_reader *reader;
    char *chunk;
    int depth;
    struct kage_error *err;
};

/* Fails with the place in the spec. `name` is the entry's own, in whatever folder it is. */
static int fail(struct walk *w, const char *name, const char *why)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_printable(w->input->path, strlen(w->input->path));
    KAGE_CLEANUP(kage_freep) char *entry = kage_printable(name, strlen(name));

    if (!strcmp(name, "."))
        kage_error_set(w->err, KAGE_CLASS_SPEC, "cannot read the input '%s': %s", path, why);
    else
        kage_error_set(w->err, KAGE_CLASS_SPEC, "cannot read '%s' of the input '%s': %s", entry,
                       path, why);
    if (w->err)
        w->err->loc = w->input->loc;
    return -1;
}

static void add_text(struct walk *w, const char *text)
{
    kage_sha256_add(w->hash, text, strlen(text) + 1);
}

static int add_entry(struct walk *w, int folder, const char *name, const char *shown);

static int add_file(struct walk *w, int fd, const char *name)
{
    uint64_t total = 0;
    char text[32];
    ssize_t n;

    while ((n = read(fd, w->chunk, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(w, name, strerror(errno));
        kage_sha256_add(w->hash, w->chunk, (size_t)n);
        w->reader->read((uint64_t)n, w->reader->user);
        total += (uint64_t)n;
    }
    /* After the bytes, so that nothing in them can be taken for what follows. */
    snprintf(text, sizeof text, "%llu", (unsigned long long)total);
    add_text(w, text);
    return 0;
}

static int not_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_folder(struct walk *w, int fd, const char *name)
{
    struct dirent **entries = NULL;
    int n, r = 0;

    if (++w->depth > DEPTH_MAX)
        return fail(w, name, "its folders are nested too deeply");
    n = scandirat(fd, ".", &entries, not_dots, by_name);
    if (n < 0)
        return fail(w, name, strerror(errno));
    for (int i = 0; i < n; i++) {
        if (r == 0)
            r = add_entry(w, fd, entries[i]->d_name, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    add_text(w, ""); /* no entry has this name: the folder's end */
    w->depth--;
    return r;
}

static int add_link(struct walk *w, int fd, const char *name)
{
    char target[4097];
    ssize_t n = readlinkat(fd, "", target, sizeof target - 1);

    if (n < 0)
        return fail(w, name, strerror(errno));
    target[n] = '\0';
    add_text(w, target);
    return 0;
}

/* An entry that is open as O_PATH: its type and mode, then what is in it. */
static int add_open(struct walk *w, int path_fd, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *again = kage_asprintf("/proc/self/fd/%d", path_fd);
    KAGE_CLEANUP(kage_closep) int fd = -1;
    struct stat st;
    char head[32];

    if (fstat(path_fd, &st) < 0)
        return fail(w, name, strerror(errno));
    snprintf(head, sizeof head, "%o", (unsigned)st.st_mode);
    add_text(w, head);
    if (S_ISLNK(st.st_mode))
        return add_link(w, path_fd, name);
    /* Pipes, sockets and devices have nothing that could be compared. */
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return 0;
    fd = open(again, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(w, name, strerror(errno));
    return S_ISDIR(st.st_mode) ? add_folder(w, fd, name) : add_file(w, fd, name);
}

static int add_entry(struct walk *w, int folder, const char *name, const char *shown)
{
    KAGE_CLEANUP(kage_closep)
    int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return fail(w, shown, strerror(errno));
    add_text(w, name);
    return add_open(w, fd, shown);
}

/* Links on the way there are followed as long as they stay in the share, as the guest follows them.
 */
static int open_below(const char *folder, const char *below, uint64_t flags)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC | flags, .resolve = RESOLVE_BENEATH};
    KAGE_CLEANUP(kage_closep) int share = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

    return share < 0 ? -1 : (int)syscall(SYS_openat2, share, below, &how, sizeof how);
}

static bool is_link(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISLNK(st.st_mode);
}

/* An input that is itself a link stands for what it leads to. What is not in the share is the
 * guest's own, or nowhere. */
static int add_behind(struct walk *w, const char *folder, const char *below)
{
    KAGE_CLEANUP(kage_closep) int fd = open_below(folder, below, 0);

    if (fd >= 0)
        return add_open(w, fd, ".");
    if (errno != ENOENT && errno != EXDEV && errno != ELOOP && errno != ENOTDIR)
        return fail(w, ".", strerror(errno));
    return 0;
}

int kage_input_add(struct kage_sha256 *hash, const struct kage_plan *plan,
                   const struct kage_plan_input *input, const struct kage_inputs_reader *reader,
                   struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *chunk = kage_alloc(CHUNK);
    KAGE_CLEANUP(kage_freep) char *below = NULL;
    const struct kage_plan_share *share = kage_plan_share_of(plan, input->path, &below);
    struct walk w = {.hash = hash, .input = input, .reader = reader, .chunk = chunk, .err = err};
    KAGE_CLEANUP(kage_closep) int fd = -1;

    if (!share)
        return fail(&w, ".", "it is in none of the shares");
    fd = open_below(share->path, below, O_NOFOLLOW);
    if (fd < 0)
        return fail(&w, ".",
                    errno == EXDEV ? "a link on the way to it leaves its share" : strerror(errno));
    /* By its place in the share, not on the host: a copy of the project has the same inputs. */
    add_text(&w, share->tag);
    add_text(&w, below);
    if (add_open(&w, fd, ".") < 0)
        return -1;
    return is_link(fd) ? add_behind(&w, share->path, below) : 0;
}
