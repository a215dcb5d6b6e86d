#include "runner/copy/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/lazy/archive.h"

/* Each level of folders holds a descriptor open. */
#define DEPTH_MAX 200
#define CHUNK (256 * 1024)

struct pack {
    const struct kage_pack *what;
    struct archive *archive;
    char *chunk;
    unsigned depth;
    int fd;
    bool failed;
};

static int archive_failed(struct pack *p, const char *name, struct kage_error *err)
{
    const char *why = archive_error_string(p->archive);
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(name, strlen(name));

    return kage_error_set(err, KAGE_CLASS_HOST, "cannot send '%s': %s", shown,
                          why ? why : "unknown error");
}

static int file_failed(int errnum, const char *name, const char *doing, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(name, strlen(name));

    return kage_error_errno(err, KAGE_CLASS_HOST, errnum, "cannot %s '%s'", doing, shown);
}

static struct archive_entry *entry_new(const struct pack *p, const char *name,
                                       const struct stat *st)
{
    struct archive_entry *e = archive_entry_new();

    archive_entry_copy_pathname(e, name);
    archive_entry_set_filetype(e, st->st_mode & S_IFMT);
    archive_entry_set_perm(e, p->what->mode >= 0 ? (mode_t)p->what->mode : st->st_mode & 07777);
    archive_entry_set_mtime(e, st->st_mtim.tv_sec, 0);
    archive_entry_set_size(e, S_ISREG(st->st_mode) ? st->st_size : 0);
    return e;
}

/* Exactly as many bytes as the header says: the file may change meanwhile. */
static int add_bytes(struct pack *p, int fd, const char *name, off_t size, struct kage_error *err)
{
    while (size > 0) {
        ssize_t n = read(fd, p->chunk, size < CHUNK ? (size_t)size : CHUNK);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_failed(errno, name, "read", err);
        if (n == 0)
            return kage_error_set(err, KAGE_CLASS_HOST, "'%s' became shorter while it was read",
                                  name);
        if (archive_write_data(p->archive, p->chunk, (size_t)n) < 0)
            return archive_failed(p, name, err);
        size -= n;
    }
    return 0;
}

static int add_file(struct pack *p, int fd, const char *name, const struct stat *st,
                    struct kage_error *err)
{
    struct archive_entry *e = entry_new(p, name, st);
    int r = archive_write_header(p->archive, e);

    archive_entry_free(e);
    return r < ARCHIVE_WARN ? archive_failed(p, name, err)
                            : add_bytes(p, fd, name, st->st_size, err);
}

static int add_link(struct pack *p, int dir, const char *file, const char *name,
                    const struct stat *st, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *target = kage_alloc((size_t)PATH_MAX);
    ssize_t n = readlinkat(dir, file, target, PATH_MAX - 1);
    struct archive_entry *e;
    int r;

    if (n < 0)
        return file_failed(errno, name, "read the link", err);
    e = entry_new(p, name, st);
    archive_entry_copy_symlink(e, target);
    r = archive_write_header(p->archive, e);
    archive_entry_free(e);
    return r < ARCHIVE_WARN ? archive_failed(p, name, err) : 0;
}

static int add(struct pack *p, int dir, const char *file, const char *name, bool bare,
               struct kage_error *err);

static int add_folder(struct pack *p, int *fd, const char *name, bool bare, const struct stat *st,
                      struct kage_error *err)
{
    struct dirent *e;
    DIR *d;
    int r = 0;

    if (!bare) {
        struct archive_entry *entry = entry_new(p, name, st);

        r = archive_write_header(p->archive, entry) < ARCHIVE_WARN ? archive_failed(p, name, err)
                                                                   : 0;
        archive_entry_free(entry);
    }
    if (r < 0)
        return -1;
    if (p->depth >= DEPTH_MAX)
        return kage_error_set(err, KAGE_CLASS_HOST, "'%s': folders nest too deep", name);
    if (!(d = fdopendir(*fd)))
        return file_failed(errno, name, "read the folder", err);
    kage_take_fd(fd);
    p->depth++;
    while (r == 0 && (errno = 0, e = readdir(d))) {
        KAGE_CLEANUP(kage_freep) char *below = NULL;

        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        below = bare ? kage_strdup(e->d_name) : kage_asprintf("%s/%s", name, e->d_name);
        r = add(p, dirfd(d), e->d_name, below, false, err);
    }
    if (r == 0 && errno)
        r = file_failed(errno, name, "read the folder", err);
    p->depth--;
    closedir(d);
    return r;
}

static int add(struct pack *p, int dir, const char *file, const char *name, bool bare,
               struct kage_error *err)
{
    bool top = dir == AT_FDCWD, follow = p->what->follow || (top && bare);
    KAGE_CLEANUP(kage_closep) int fd = -1;
    struct stat st;

    if (fstatat(dir, file, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        return file_failed(errno, top ? file : name, "read", err);
    if (p->what->only_file && !S_ISREG(st.st_mode))
        return kage_error_set(err, KAGE_CLASS_HOST, "'%s' is not a regular file", file);
    if (S_ISLNK(st.st_mode))
        return add_link(p, dir, file, name, &st, err);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        KAGE_CLEANUP(kage_freep) char *shown = kage_printable(name, strlen(name));

        fprintf(stderr, "kage cp: '%s' is left out: neither file, folder nor link\n", shown);
        return 0;
    }
    /* Should it be another thing by now, it is not waited for. */
    fd =
        openat(dir, file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
    if (fd < 0 || fstat(fd, &st) < 0)
        return file_failed(errno, top ? file : name, "open", err);
    if (S_ISDIR(st.st_mode))
        return add_folder(p, &fd, name, bare, &st, err);
    if (bare)
        return kage_error_set(err, KAGE_CLASS_HOST, "'%s' is no folder", file);
    if (!S_ISREG(st.st_mode))
        return kage_error_set(err, KAGE_CLASS_HOST, "'%s' changed while it was read", name);
    return add_file(p, fd, name, &st, err);
}

/* After a failure nothing more is written: an archive that is cut short must not look whole. */
static la_ssize_t on_write(struct archive *archive, void *user, const void *data, size_t len)
{
    const struct pack *p = user;
    ssize_t n = (ssize_t)len;

    if (p->failed)
        return n;
    do
        n = write(p->fd, data, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        archive_set_error(archive, errno, "%s", strerror(errno));
    return n;
}

int kage_pack(const struct kage_pack *what, int fd, struct kage_error *err)
{
    struct pack p = {.what = what, .fd = fd};
    int r;

    if (kage_archive_load(err) < 0)
        return -1;
    p.archive = archive_write_new();
    p.chunk = kage_alloc(CHUNK);
    /* GNU's format: names of any length and sizes of any size, in a way that busybox reads. */
    archive_write_set_format_gnutar(p.archive);
    archive_write_set_bytes_in_last_block(p.archive, 1);
    if (archive_write_open(p.archive, &p, NULL, on_write, NULL) != ARCHIVE_OK)
        r = archive_failed(&p, what->source, err);
    else
        r = add(&p, AT_FDCWD, what->source, what->top, what->contents, err);
    p.failed = r < 0;
    if (archive_write_close(p.archive) != ARCHIVE_OK && r == 0)
        r = archive_failed(&p, what->source, err);
    archive_write_free(p.archive);
    free(p.chunk);
    return r;
}
