#include "runner/copy/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/lazy/archive.h"

/*
 * Theory of operation. Every name is taken apart, and each part but the last is
 * opened as a folder below the one before, with O_NOFOLLOW. A part holds no
 * slash and is never "..", so no path ever reaches the kernel, and there is
 * nothing to be decided between a check and a use.
 *
 * Folders get their mode and time at the very end: before that, they must be
 * written to, which changes their time and may be against their mode.
 */
#define DEPTH_MAX 200
#define CHUNK (256 * 1024)
/* What may follow the archive's end: tar pads to its block size. */
#define PADDING_MAX (1024 * 1024)

struct folder {
    char *path; /* as in the archive, below the top */
    mode_t mode;
    struct timespec mtime;
};

struct unpack {
    const struct kage_unpack *where;
    struct archive *archive;
    struct kage_unpacked done;
    uint64_t used;
    struct folder *folders;
    size_t n_folders, cap_folders;
    ino_t *made; /* files, where hard links to others are refused */
    size_t n_made, cap_made;
    char *chunk;
};

/* A name from the archive, checked and mapped to where it goes. */
struct place {
    char *text; /* owned; the parts point into it */
    char *parts[DEPTH_MAX];
    size_t n;
};

static int fail(int errnum, const char *doing, const char *untrusted_name, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *name = kage_printable(untrusted_name, strlen(untrusted_name));

    return errnum ? kage_error_errno(err, KAGE_CLASS_HOST, errnum, "cannot %s '%s'", doing, name)
                  : kage_error_set(err, KAGE_CLASS_HOST, "cannot %s '%s'", doing, name);
}

static int charge(struct unpack *u, uint64_t bytes, struct kage_error *err)
{
    uint64_t max = u->where->max_size;

    if (bytes > max || u->used > max - bytes)
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "more came from the guest than %s allows (%llu bytes, %u for each "
                              "file)",
                              u->where->limit ? u->where->limit : "--max-size",
                              (unsigned long long)max, KAGE_UNPACK_ENTRY_COST);
    u->used += bytes;
    return 0;
}

/* ---- names ---- */

static int add_part(struct place *ret, char *part)
{
    if (ret->n == DEPTH_MAX)
        return -1;
    ret->parts[ret->n++] = part;
    return 0;
}

static bool has_control(const char *untrusted_name)
{
    for (const char *p = untrusted_name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return true;
    return false;
}

static int map_name(const struct unpack *u, const char *untrusted_name, struct place *ret,
                    struct kage_error *err)
{
    bool stripped = !strcmp(u->where->strip, ".");
    char *save = NULL;

    *ret = (struct place){.text = kage_strdup(untrusted_name)};
    if (untrusted_name[0] == '/')
        return fail(0, "accept the absolute name", untrusted_name, err);
    if (u->where->plain && has_control(untrusted_name))
        return fail(0, "accept control characters in the name", untrusted_name, err);
    if (*u->where->top)
        add_part(ret, (char *)u->where->top);
    for (char *part = strtok_r(ret->text, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (!strcmp(part, "."))
            continue;
        if (!strcmp(part, ".."))
            return fail(0, "accept the climbing name", untrusted_name, err);
        if (!stripped) {
            if (strcmp(part, u->where->strip) != 0)
                return fail(0, "accept what was not asked for", untrusted_name, err);
            stripped = true;
        } else if (add_part(ret, part) < 0) {
            return fail(ENAMETOOLONG, "make", untrusted_name, err);
        }
    }
    return stripped ? 0 : fail(0, "accept the empty name", untrusted_name, err);
}

/* Opens a folder below dir; one that is missing is made, one that is a link is refused. */
static int enter(int dir, const char *part, bool make)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, fd = openat(dir, part, flags);

    /* 0700 until the end: the archive's own mode may keep even us out. */
    if (fd < 0 && errno == ENOENT && make && mkdirat(dir, part, 0700) == 0)
        fd = openat(dir, part, flags);
    return fd;
}

/* Opens the folder that the first n parts name. The caller closes it. */
static int walk(const struct unpack *u, const struct place *p, size_t n, bool make)
{
    int dir = fcntl(u->where->folder, F_DUPFD_CLOEXEC, 3);

    for (size_t i = 0; i < n && dir >= 0; i++) {
        int next = enter(dir, p->parts[i], make), e = errno;

        close(dir);
        errno = e;
        dir = next;
    }
    return dir;
}

/* ---- entries ---- */

static struct timespec mtime_of(struct archive_entry *e)
{
    return (struct timespec){.tv_sec = archive_entry_mtime(e),
                             .tv_nsec = archive_entry_mtime_nsec(e)};
}

/* Whatever is at the name makes room, unless it is a folder. */
static int make_room(int dir, const char *part)
{
    return unlinkat(dir, part, 0) < 0 && errno != ENOENT ? -1 : 0;
}

static int make_file(int dir, const char *part)
{
    return make_room(dir, part) < 0
               ? -1
               : openat(dir, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int finish_file(int fd, mode_t mode, struct timespec mtime)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime};

    return fchmod(fd, mode & 0777) < 0 || futimens(fd, times) < 0 ? -1 : 0;
}

static int write_at(int fd, const char *data, size_t len, off_t at)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int copy_data(struct unpack *u, int fd, const char *name, int64_t size,
                     struct kage_error *err)
{
    const void *block;
    size_t len;
    la_int64_t at;
    int r;

    while ((r = archive_read_data_block(u->archive, &block, &len, &at)) == ARCHIVE_OK) {
        /* Sparse files say where a block goes; the size has been charged for. */
        if (at < 0 || at > size || (int64_t)len > size - at)
            return fail(0, "accept more bytes than announced for", name, err);
        if (write_at(fd, block, len, at) < 0)
            return fail(errno, "write", name, err);
    }
    if (r != ARCHIVE_EOF)
        return kage_error_set(err, KAGE_CLASS_HOST, "the archive from the guest is damaged: %s",
                              archive_error_string(u->archive));
    return ftruncate(fd, size) < 0 ? fail(errno, "write", name, err) : 0;
}

static void note_made(struct unpack *u, int fd)
{
    struct stat st;

    if (!u->where->plain || fstat(fd, &st) < 0)
        return;
    u->made = kage_array_grow(u->made, &u->cap_made, u->n_made + 1, sizeof *u->made);
    u->made[u->n_made++] = st.st_ino;
}

/* Whether a file came out of this archive, and was not there before. */
static bool was_made(const struct unpack *u, ino_t ino)
{
    for (size_t i = 0; i < u->n_made; i++)
        if (u->made[i] == ino)
            return true;
    return !u->where->plain;
}

static int unpack_file(struct unpack *u, struct archive_entry *e, int dir, const char *part,
                       const char *name, struct kage_error *err)
{
    int64_t size = archive_entry_size(e);
    KAGE_CLEANUP(kage_closep) int fd = -1;

    if (size < 0 || charge(u, (uint64_t)size, err) < 0)
        return size < 0 ? fail(0, "accept the size of", name, err) : -1;
    fd = make_file(dir, part);
    if (fd < 0)
        return fail(errno, "make the file", name, err);
    note_made(u, fd);
    if (copy_data(u, fd, name, size, err) < 0)
        return -1;
    return finish_file(fd, archive_entry_perm(e), mtime_of(e)) < 0
               ? fail(errno, "set mode and time of", name, err)
               : 0;
}

/* A copy: two names of one file here would let a later write to the one change the other, which
 * may have been there before. */
static int unpack_hard_link(struct unpack *u, struct archive_entry *e, int dir, const char *part,
                            const char *name, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int from_dir = -1;
    KAGE_CLEANUP(kage_closep) int from = -1;
    KAGE_CLEANUP(kage_closep) int to = -1;
    struct place source;
    struct stat st, old;
    ssize_t n = 0;
    int r = map_name(u, archive_entry_hardlink(e), &source, err);

    if (r == 0 && source.n) {
        from_dir = walk(u, &source, source.n - 1, false);
        if (from_dir >= 0)
            from = openat(from_dir, source.parts[source.n - 1],
                          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    free(source.text);
    if (r < 0)
        return -1;
    if (from < 0 || fstat(from, &st) < 0)
        return fail(errno, "find what is linked to by", name, err);
    if (!S_ISREG(st.st_mode) || !was_made(u, st.st_ino))
        return fail(0, "copy what is linked to by", name, err);
    if (charge(u, (uint64_t)st.st_size, err) < 0)
        return -1;
    if (fstatat(dir, part, &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_ino == st.st_ino &&
        old.st_dev == st.st_dev)
        return 0; /* to itself */
    to = make_file(dir, part);
    if (to < 0)
        return fail(errno, "make the file", name, err);
    for (off_t at = 0; (n = read(from, u->chunk, CHUNK)) > 0; at += n)
        if (write_at(to, u->chunk, (size_t)n, at) < 0)
            return fail(errno, "write", name, err);
    if (n < 0 || finish_file(to, st.st_mode, st.st_mtim) < 0)
        return fail(errno, "copy what is linked to by", name, err);
    return 0;
}

static int unpack_link(struct archive_entry *e, int dir, const char *part, const char *name,
                       struct kage_error *err)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime_of(e)};
    const char *target = archive_entry_symlink(e);

    if (!target || make_room(dir, part) < 0 || symlinkat(target, dir, part) < 0)
        return fail(target ? errno : 0, "make the link", name, err);
    utimensat(dir, part, times, AT_SYMLINK_NOFOLLOW); /* not every file system can */
    return 0;
}

static int unpack_folder(struct unpack *u, struct archive_entry *e, int dir, const char *part,
                         const char *name, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int fd = enter(dir, part, true);

    if (fd < 0)
        return fail(errno, "make the folder", name, err);
    u->folders = kage_array_grow(u->folders, &u->cap_folders, u->n_folders + 1, sizeof *u->folders);
    u->folders[u->n_folders++] = (struct folder){
        .path = kage_strdup(name), .mode = archive_entry_perm(e) & 0777, .mtime = mtime_of(e)};
    return 0;
}

static int unpack_at(struct unpack *u, struct archive_entry *e, const struct place *p,
                     const char *name, struct kage_error *err)
{
    KAGE_CLEANUP(kage_closep) int dir = walk(u, p, p->n - 1, true);
    const char *part = p->parts[p->n - 1];

    if (dir < 0)
        return fail(errno, "enter the folder of", name, err);
    if (archive_entry_hardlink(e))
        return unpack_hard_link(u, e, dir, part, name, err);
    switch (archive_entry_filetype(e)) {
    case AE_IFREG:
        return unpack_file(u, e, dir, part, name, err);
    case AE_IFDIR:
        return unpack_folder(u, e, dir, part, name, err);
    case AE_IFLNK:
        if (!u->where->plain)
            return unpack_link(e, dir, part, name, err);
        break;
    default:
        break;
    }
    u->done.left_out++;
    return 0;
}

static int unpack_entry(struct unpack *u, struct archive_entry *e, struct kage_error *err)
{
    const char *name = archive_entry_pathname(e);
    struct place p = {0};
    int r;

    if (!name || !*name)
        return kage_error_set(err, KAGE_CLASS_HOST, "a file without a name came from the guest");
    if (charge(u, KAGE_UNPACK_ENTRY_COST, err) < 0)
        return -1;
    u->done.entries++;
    r = map_name(u, name, &p, err);
    /* Without a part of its own it is the user's folder, which stays as it is. */
    if (r == 0 && p.n == 0 && archive_entry_filetype(e) != AE_IFDIR)
        r = fail(0, "put a file in the place of a folder:", name, err);
    else if (r == 0 && u->done.entries == 1 && u->where->top_is_folder &&
             archive_entry_filetype(e) != AE_IFDIR)
        r = kage_error_set(err, KAGE_CLASS_HOST, "there is no folder '%s'", u->where->top);
    else if (r == 0 && p.n > 0)
        r = unpack_at(u, e, &p, name, err);
    free(p.text);
    return r;
}

/* ---- the end ---- */

/* Backwards, so that what is inside a folder comes before the folder. */
static int finish_folders(struct unpack *u, struct kage_error *err)
{
    int r = 0;

    for (size_t i = u->n_folders; i-- > 0 && r == 0;) {
        const struct folder *f = &u->folders[i];
        struct place p = {0};
        KAGE_CLEANUP(kage_closep) int fd = -1;

        r = map_name(u, f->path, &p, err);
        if (r == 0) {
            fd = walk(u, &p, p.n, false);
            if (fd < 0 || finish_file(fd, f->mode, f->mtime) < 0)
                r = fail(errno, "set mode and time of", f->path, err);
        }
        free(p.text);
    }
    return r;
}

static int drain(int fd, char *chunk, struct kage_error *err)
{
    size_t total = 0;
    ssize_t n;

    while ((n = read(fd, chunk, CHUNK)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && (total += (size_t)n) > PADDING_MAX)
            return kage_error_set(err, KAGE_CLASS_HOST, "the archive from the guest does not end");
    return 0;
}

int kage_unpack(const struct kage_unpack *where, int fd, struct kage_unpacked *ret,
                struct kage_error *err)
{
    struct unpack u = {.where = where};
    struct archive_entry *e;
    int r = 0, status;

    if (kage_archive_load(err) < 0)
        return -1;
    u.archive = archive_read_new();
    u.chunk = kage_alloc(CHUNK);
    archive_read_support_format_tar(u.archive);
    archive_read_support_format_empty(u.archive); /* nothing came: the guest says why */
    status = archive_read_open_fd(u.archive, fd, 64 * 1024);
    if (status == ARCHIVE_OK)
        while ((status = archive_read_next_header(u.archive, &e)) == ARCHIVE_OK ||
               status == ARCHIVE_WARN)
            if ((r = unpack_entry(&u, e, err)) < 0)
                break;
    if (r == 0 && status != ARCHIVE_EOF)
        r = kage_error_set(err, KAGE_CLASS_HOST, "the archive from the guest is damaged: %s",
                           archive_error_string(u.archive));
    /* Also after a failure: a folder that nobody may enter helps nobody. */
    if (finish_folders(&u, r < 0 ? NULL : err) < 0)
        r = -1;
    if (r == 0)
        r = drain(fd, u.chunk, err);
    if (r == 0)
        *ret = u.done;
    for (size_t i = 0; i < u.n_folders; i++)
        free(u.folders[i].path);
    free(u.folders);
    free(u.made);
    free(u.chunk);
    archive_read_free(u.archive);
    return r;
}
