#include "guest/files.h"

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
#include "common/proto/message.h"
#include "guest/guest.h"
#include "guest/refusal.h"
#include "guest/users.h"

#define INSTALL_FOLDER "/usr/local/bin"
#define DEPTH_MAX 200 /* folders below a tree to remove; each level holds a descriptor */

/* What fits a `data` frame as base64 with its JSON around it. */
#define READ_MAX ((KAGE_FRAME_MAX - 64) / 4 * 3)

bool kage_path_is_normal(const char *path)
{
    size_t len = strlen(path);

    if (path[0] != '/' || len >= 4096 || (len > 1 && path[len - 1] == '/'))
        return false;
    for (const char *at = path; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7F)
            return false;
        if (*at != '/')
            continue;
        if (at[1] == '/' || (at[1] == '.' && (at[2] == '/' || !at[2])) ||
            (at[1] == '.' && at[2] == '.' && (at[3] == '/' || !at[3])))
            return false;
    }
    return true;
}

/* Reads what fd is open on, if it is a regular file that is not too long. */
static int read_regular(int fd, const char *path, size_t max, struct kage_buf *ret, int code,
                        struct kage_refusal *why)
{
    struct kage_buf b = {0};
    char chunk[16384];
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return kage_refuse(why, code, 0, "'%s' is not a regular file", path);
    while ((n = read(fd, chunk, sizeof chunk)) > 0 && b.len + (size_t)n <= max)
        kage_buf_add(&b, chunk, (size_t)n);
    if (n) {
        int e = errno;

        kage_buf_done(&b);
        return n < 0 ? kage_refuse(why, code, e, "cannot read '%s'", path)
                     : kage_refuse(why, code, EFBIG, "'%s' is longer than %zu bytes", path, max);
    }
    kage_buf_done(ret);
    *ret = b;
    return 0;
}

static int open_how(int dir, const char *path, uint64_t resolve)
{
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                           .resolve = resolve};

    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

int kage_file_read(const char *path, size_t max, struct kage_buf *ret, int code,
                   struct kage_refusal *why)
{
    KAGE_CLEANUP(kage_closep) int fd = open_how(AT_FDCWD, path, RESOLVE_NO_MAGICLINKS);

    if (fd < 0)
        return kage_refuse(why, code, errno, "cannot open '%s'", path);
    return read_regular(fd, path, max, ret, code, why);
}

int kage_make_folders(const char *path)
{
    KAGE_CLEANUP(kage_freep) char *part = kage_strdup(path);

    for (char *at = part + 1; at[-1]; at++) {
        if (*at && *at != '/')
            continue;
        char was = *at;

        *at = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return -1;
        *at = was;
        if (!was)
            break;
    }
    return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int kage_file_write(const char *path, const void *data, size_t len, mode_t mode, int code,
                    struct kage_refusal *why)
{
    const char *name = strrchr(path, '/') + 1;
    KAGE_CLEANUP(kage_freep) char *folder = kage_strndup(path, (size_t)(name - path));
    KAGE_CLEANUP(kage_freep) char *part = kage_asprintf("%s.kage.part", folder);
    KAGE_CLEANUP(kage_closep) int fd = -1;

    if (kage_make_folders(folder) < 0)
        return kage_refuse(why, code, errno, "cannot make the folder '%s'", folder);
    unlink(part);
    fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return kage_refuse(why, code, errno, "cannot write into '%s'", folder);
    if (write_all(fd, data, len) < 0 || fchmod(fd, mode) < 0 || rename(part, path) < 0) {
        kage_refuse(why, code, errno, "cannot write '%s'", path);
        unlink(part);
        return -1;
    }
    return 0;
}

/* ---- removing ---- */

static int remove_below(int dir, dev_t device, int depth)
{
    DIR *d = fdopendir(dir); /* takes the descriptor */
    struct dirent *e;
    int r = 0;

    if (!d) {
        close(dir);
        return -1;
    }
    while ((e = readdir(d))) {
        struct stat st;
        int sub;

        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (!S_ISDIR(st.st_mode)) {
            r |= unlinkat(dirfd(d), e->d_name, 0);
            continue;
        }
        sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0 && fstat(sub, &st) == 0 && st.st_dev == device && depth < DEPTH_MAX)
            r |= remove_below(sub, device, depth + 1);
        else
            kage_closep(&sub);
        r |= unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    }
    closedir(d);
    return r;
}

int kage_remove_tree(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    if (fstat(fd, &st) < 0) {
        close(fd);
        return -1;
    }
    if (remove_below(fd, st.st_dev, 0) < 0)
        return -1;
    return rmdir(path);
}

/* ---- the requests ---- */

int kage_binary_install(struct kage_guest *guest, const struct kage_msg *m,
                        struct kage_refusal *why)
{
    const char *name = m->binary_install.name;
    KAGE_CLEANUP(kage_freep) char *path = NULL;

    if (!*name || strlen(name) > 255 || strchr(name, '/') || !strcmp(name, ".") ||
        !strcmp(name, "..") || !strcmp(name, ".kage.part"))
        return kage_refuse(why, KAGE_RPC_INSTALL, 0,
                           "the name of a program must be a single file name");
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            return kage_refuse(why, KAGE_RPC_INSTALL, 0,
                               "the name of a program must not hold control characters");
    if (!guest->owns_root)
        return kage_refuse(why, KAGE_RPC_INSTALL, EPERM,
                           "vmd runs on a host and was given no --root");
    path = kage_asprintf(INSTALL_FOLDER "/%s", name);
    return kage_file_write(path, m->binary_install.data, m->binary_install.data_len,
                           m->binary_install.executable ? 0755 : 0644, KAGE_RPC_INSTALL, why);
}

int kage_fs_read(const struct kage_msg *m, struct kage_buf *ret, struct kage_refusal *why)
{
    if (m->fs_read.path[0] != '/')
        return kage_refuse(why, KAGE_RPC_INVALID_PARAMS, 0, "field 'path' must be absolute");
    return kage_file_read(m->fs_read.path, READ_MAX, ret, KAGE_RPC_INVALID_PARAMS, why);
}

/* The session is named by its user or its uid; the file is one of its own. */
static bool find_session(const char *id, struct kage_user *ret)
{
    char *end = NULL;
    unsigned long uid;

    if (kage_user_by_name(id, ret))
        return true;
    if (*id < '0' || *id > '9')
        return false;
    errno = 0;
    uid = strtoul(id, &end, 10);
    return !errno && !*end && uid < UINT32_MAX && kage_user_by_uid((uid_t)uid, ret);
}

int kage_load_state(const struct kage_msg *m, struct kage_buf *ret, struct kage_refusal *why)
{
    const char *path = m->load_state.state_path;
    struct kage_user user = {0};
    KAGE_CLEANUP(kage_closep) int home = -1;
    KAGE_CLEANUP(kage_closep) int fd = -1;
    size_t len;
    int r;

    if (!find_session(m->load_state.session_id, &user))
        return kage_refuse(why, KAGE_RPC_USER, 0, "there is no session '%s'",
                           m->load_state.session_id);
    len = strlen(user.home);
    if (!strncmp(path, user.home, len) && path[len] == '/')
        path += len + 1;
    home = open(user.home, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (home >= 0)
        fd = open_how(home, path, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
    if (fd < 0)
        r = kage_refuse(why, KAGE_RPC_INVALID_PARAMS, errno, "cannot open '%s' in the home of %s",
                        m->load_state.state_path, user.name);
    else
        r = read_regular(fd, m->load_state.state_path, READ_MAX, ret, KAGE_RPC_INVALID_PARAMS, why);
    kage_user_done(&user);
    return r;
}
