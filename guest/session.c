#include "guest/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/proto/message.h"
#include "guest/files.h"
#include "guest/guest.h"
#include "guest/mounts.h"
#include "guest/process.h"
#include "guest/refusal.h"
#include "guest/users.h"

#define DATABASE_MAX (1024 * 1024)
#define ID_MAX 65533 /* 65534 is nobody, 65535 was -1 when ids had 16 bits */

/* Reads one of the databases; a missing one is an empty one. */
static int load(const char *path, struct kage_buf *ret, struct kage_refusal *why)
{
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        kage_buf_clear(ret);
        return 0;
    }
    if (kage_file_read(path, DATABASE_MAX, ret, KAGE_RPC_USER, why) < 0)
        return -1;
    if (ret->len && ret->data[ret->len - 1] != '\n')
        kage_buf_addc(ret, '\n');
    return 0;
}

/* Whether a line "name:x:id:…" has this name or this id; *line_end is where it ends. */
static bool line_is(const char *line, const char *end, const char *name, int64_t id)
{
    size_t name_len = strcspn(line, ":\n");
    const char *at = line + name_len;

    if (name)
        return strlen(name) == name_len && !memcmp(line, name, name_len);
    if (at >= end || *at != ':' || !(at = memchr(at + 1, ':', (size_t)(end - at - 1))))
        return false;
    return strtoll(at + 1, NULL, 10) == id;
}

/* The line with that name, or else with that id. Borrowed; NULL when there is none. */
static const char *find_line(const struct kage_buf *b, const char *name, int64_t id)
{
    const char *line = b->data, *stop = b->data ? b->data + b->len : NULL;

    while (line && line < stop) {
        const char *end = memchr(line, '\n', (size_t)(stop - line));

        if (!end)
            end = stop;
        if (line_is(line, end, name, id))
            return line;
        line = end + 1;
    }
    return NULL;
}

static void remove_line(struct kage_buf *b, const char *line)
{
    size_t at = (size_t)(line - b->data);
    const char *end = memchr(line, '\n', b->len - at);
    size_t n = end ? (size_t)(end - line) + 1 : b->len - at;

    memmove(b->data + at, b->data + at + n, b->len - at - n + 1);
    b->len -= n;
}

static bool has_member(const char *members, size_t len, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = members; at <= members + len - n && len >= n; at++)
        if (!memcmp(at, name, n) && (at == members || at[-1] == ',') &&
            (at + n == members + len || at[n] == ','))
            return true;
    return false;
}

/* Adds the user to the group, which is made when it is missing. */
static void join_group(struct kage_buf *groups, int64_t gid, const char *user)
{
    const char *line = find_line(groups, NULL, gid);
    struct kage_buf out = {0};
    size_t head, members, end;

    if (!line) {
        kage_buf_addf(groups, "group%lld:x:%lld:%s\n", (long long)gid, (long long)gid, user);
        return;
    }
    head = (size_t)(line - groups->data);
    end = head + strcspn(line, "\n");
    members = end;
    while (members > head && groups->data[members - 1] != ':')
        members--;
    if (has_member(groups->data + members, end - members, user))
        return;
    kage_buf_add(&out, groups->data, end);
    kage_buf_addf(&out, "%s%s", end > members ? "," : "", user);
    kage_buf_add(&out, groups->data + end, groups->len - end);
    kage_buf_done(groups);
    *groups = out;
}

static int make_home(const char *home, uid_t uid, gid_t gid, struct kage_refusal *why)
{
    const char *name = strrchr(home, '/');
    KAGE_CLEANUP(kage_freep) char *parent = kage_strndup(home, (size_t)(name - home));
    struct stat st;

    if (*parent && kage_make_folders(parent) < 0)
        return kage_refuse(why, KAGE_RPC_USER, errno, "cannot make the folder '%s'", parent);
    if (mkdir(home, 0700) == 0)
        return lchown(home, uid, gid) == 0
                   ? 0
                   : kage_refuse(why, KAGE_RPC_USER, errno, "cannot give away '%s'", home);
    if (errno != EEXIST)
        return kage_refuse(why, KAGE_RPC_USER, errno, "cannot make the home '%s'", home);
    /* One that was there, a share or a folder of the system, stays whose it is. */
    if (lstat(home, &st) < 0 || !S_ISDIR(st.st_mode))
        return kage_refuse(why, KAGE_RPC_USER, ENOTDIR, "the home '%s' is no folder", home);
    return 0;
}

/* Only a folder that is the user's own. */
static int remove_home(const struct kage_user *user, struct kage_refusal *why)
{
    struct stat st;

    if (lstat(user->home, &st) < 0 && errno == ENOENT)
        return 0;
    if (kage_mount_point_check(user->home, why) < 0 || !S_ISDIR(st.st_mode) ||
        st.st_uid != user->uid)
        return kage_refuse(why, KAGE_RPC_USER, EPERM,
                           "the session is gone; its home '%s' is not its own and stays",
                           user->home);
    if (kage_remove_tree(user->home) < 0)
        return kage_refuse(why, KAGE_RPC_USER, errno,
                           "the session is gone, but its home '%s' could not be removed whole",
                           user->home);
    return 0;
}

/* What a session_create asks for, defaults filled in. */
struct wish {
    uid_t uid;
    gid_t gid;
    char *name, *home, *shell;
};

static void wish_done(struct wish *w)
{
    free(w->name);
    free(w->home);
    free(w->shell);
}

static int read_wish(const struct kage_msg *m, struct wish *w, struct kage_refusal *why)
{
    int64_t gid = m->session_create.gid;

    if (m->session_create.uid < 1 || m->session_create.uid > ID_MAX)
        return kage_refuse(why, KAGE_RPC_USER, 0, "field 'uid' must be from 1 to %d", ID_MAX);
    if (gid != KAGE_UNSET && (gid < 0 || gid > ID_MAX))
        return kage_refuse(why, KAGE_RPC_USER, 0, "field 'gid' must be from 0 to %d", ID_MAX);
    w->uid = (uid_t)m->session_create.uid;
    w->gid = gid == KAGE_UNSET ? w->uid : (gid_t)gid;
    w->name = m->session_create.username ? kage_strdup(m->session_create.username)
                                         : kage_asprintf("user%u", w->uid);
    if (!kage_user_name_valid(w->name))
        return kage_refuse(why, KAGE_RPC_USER, 0,
                           "field 'username' must be 1 to 32 of a-z, 0-9, _ and -, and not begin "
                           "with a digit or -");
    w->home = m->session_create.home ? kage_strdup(m->session_create.home)
                                     : kage_asprintf("/home/%s", w->name);
    w->shell = kage_strdup(m->session_create.shell ? m->session_create.shell : "/bin/sh");
    if (kage_mount_point_check(w->home, why) < 0 || strchr(w->home, ':')) {
        why->code = KAGE_RPC_USER;
        return kage_refuse(why, KAGE_RPC_USER, 0, "'%s' cannot be a home folder", w->home);
    }
    if (!kage_path_is_normal(w->shell) || strchr(w->shell, ':'))
        return kage_refuse(why, KAGE_RPC_USER, 0, "field 'shell' must be an absolute path");
    return 0;
}

/* Returns 1 when the very user is there already, 0 when it can be made. */
static int check_taken(const struct wish *w, struct kage_refusal *why)
{
    struct kage_user by_name = {0}, by_uid = {0};
    bool named = kage_user_by_name(w->name, &by_name);
    bool numbered = kage_user_by_uid(w->uid, &by_uid);
    int r = 0;

    if (named && by_name.uid != w->uid)
        r = kage_refuse(why, KAGE_RPC_USER, EEXIST, "the user '%s' has uid %u", w->name,
                        by_name.uid);
    else if (named && by_name.gid != w->gid)
        r = kage_refuse(why, KAGE_RPC_USER, EEXIST, "the user '%s' has gid %u", w->name,
                        by_name.gid);
    else if (numbered && !named)
        r = kage_refuse(why, KAGE_RPC_USER, EEXIST, "uid %u belongs to the user '%s'", w->uid,
                        by_uid.name);
    else if (named)
        r = 1;
    kage_user_done(&by_name);
    kage_user_done(&by_uid);
    return r;
}

static int add_user(const struct wish *w, const struct kage_u32_list *extra,
                    struct kage_refusal *why)
{
    struct kage_buf passwd = {0}, group = {0}, shadow = {0};
    int known = check_taken(w, why), r = -1;

    if (known < 0)
        return -1;
    if (load("/etc/passwd", &passwd, why) < 0 || load("/etc/group", &group, why) < 0 ||
        load("/etc/shadow", &shadow, why) < 0)
        goto out;
    if (!known)
        kage_buf_addf(&passwd, "%s:x:%u:%u::%s:%s\n", w->name, w->uid, w->gid, w->home, w->shell);
    if (!find_line(&group, NULL, w->gid))
        kage_buf_addf(&group, "%s:x:%u:\n", find_line(&group, w->name, 0) ? "users" : w->name,
                      w->gid);
    for (size_t i = 0; i < extra->n; i++)
        join_group(&group, extra->items[i], w->name);
    if (!find_line(&shadow, w->name, 0))
        kage_buf_addf(&shadow, "%s:!::0:99999:7:::\n", w->name);
    r = kage_file_write("/etc/group", group.data, group.len, 0644, KAGE_RPC_USER, why);
    if (r == 0)
        r = kage_file_write("/etc/shadow", shadow.data, shadow.len, 0600, KAGE_RPC_USER, why);
    if (r == 0 && !known) /* last: a user that can be looked up is complete */
        r = kage_file_write("/etc/passwd", passwd.data, passwd.len, 0644, KAGE_RPC_USER, why);
out:
    kage_buf_done(&passwd);
    kage_buf_done(&group);
    kage_buf_done(&shadow);
    return r;
}

static int owns_root(const struct kage_guest *guest, struct kage_refusal *why)
{
    return guest->owns_root ? 0
                            : kage_refuse(why, KAGE_RPC_USER, EPERM,
                                          "vmd runs on a host and was given no --root");
}

int kage_session_create(struct kage_guest *guest, const struct kage_msg *m, struct kage_msg *ok,
                        struct kage_refusal *why)
{
    struct wish w = {0};
    struct kage_user user = {0};
    int r = -1;

    if (owns_root(guest, why) < 0)
        return -1;
    if (read_wish(m, &w, why) == 0 && add_user(&w, &m->session_create.groups, why) == 0 &&
        kage_user_by_name(w.name, &user) && make_home(user.home, user.uid, user.gid, why) == 0) {
        ok->ok.uid = user.uid;
        ok->ok.gid = user.gid;
        ok->ok.username = KAGE_TAKE(user.name);
        ok->ok.home_dir = KAGE_TAKE(user.home);
        r = 0;
    } else if (!why->message) {
        kage_refuse(why, KAGE_RPC_USER, 0, "the new user cannot be found in /etc/passwd");
    }
    kage_user_done(&user);
    wish_done(&w);
    return r;
}

/* ---- the end of a session ---- */

/* Takes the user's line out of a database; in /etc/group also its name from the other lines. */
static int forget(const char *path, const char *name, bool members, mode_t mode,
                  struct kage_refusal *why)
{
    struct kage_buf b = {0}, out = {0};
    const char *line;
    char *save = NULL;
    int r;

    if (load(path, &b, why) < 0)
        return -1;
    if ((line = find_line(&b, name, 0)))
        remove_line(&b, line);
    for (char *l = b.data ? strtok_r(b.data, "\n", &save) : NULL; l;
         l = strtok_r(NULL, "\n", &save)) {
        char *list = members ? strrchr(l, ':') : NULL, *inner = NULL;
        bool first = true;

        if (!list || !has_member(list + 1, strlen(list + 1), name)) {
            kage_buf_addf(&out, "%s\n", l);
            continue;
        }
        kage_buf_add(&out, l, (size_t)(list + 1 - l));
        for (char *m = strtok_r(list + 1, ",", &inner); m; m = strtok_r(NULL, ",", &inner)) {
            if (!strcmp(m, name))
                continue;
            kage_buf_addf(&out, "%s%s", first ? "" : ",", m);
            first = false;
        }
        kage_buf_addc(&out, '\n');
    }
    r = kage_file_write(path, out.data ? out.data : "", out.len, mode, KAGE_RPC_USER, why);
    kage_buf_done(&b);
    kage_buf_done(&out);
    return r;
}

int kage_session_destroy(struct kage_guest *guest, const struct kage_msg *m,
                         struct kage_refusal *why)
{
    struct kage_user user = {0};
    int r = -1;

    if (owns_root(guest, why) < 0)
        return -1;
    if (m->session_destroy.uid < 1 || m->session_destroy.uid > ID_MAX ||
        !kage_user_by_uid((uid_t)m->session_destroy.uid, &user))
        return kage_refuse(why, KAGE_RPC_USER, 0, "there is no session with uid %lld",
                           (long long)m->session_destroy.uid);
    kage_processes_kill_uid(guest, user.uid);
    if (forget("/etc/passwd", user.name, false, 0644, why) == 0 &&
        forget("/etc/group", user.name, true, 0644, why) == 0 &&
        forget("/etc/shadow", user.name, false, 0600, why) == 0)
        r = 0;
    if (r == 0 && m->session_destroy.delete_home)
        r = remove_home(&user, why);
    kage_user_done(&user);
    return r;
}
