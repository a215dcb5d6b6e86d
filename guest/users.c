#include "guest/users.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "guest/files.h"
#include "guest/refusal.h"

#define DATABASE_MAX (1024 * 1024)
#define FIELDS_MAX 8

/* Splits a line of /etc/passwd or /etc/group in place. */
static size_t split(char *line, char sep, char **fields, size_t max)
{
    size_t n = 0;

    while (n < max) {
        char *end = strchr(line, sep);

        fields[n++] = line;
        if (!end)
            break;
        *end = '\0';
        line = end + 1;
    }
    return n;
}

static bool parse_id(const char *text, unsigned *ret)
{
    char *end = NULL;
    unsigned long v;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    v = strtoul(text, &end, 10);
    if (errno || *end || v >= UINT32_MAX)
        return false;
    *ret = (unsigned)v;
    return true;
}

/* What was read ahead, for the first command of a restored machine. A file that changes in the very
 * tick of the clock in which it is looked at could keep its times, so this is done only when there
 * is nobody who could change it. */
static struct remembered {
    const char *path;
    struct stat as;
    struct kage_buf text;
} remembered[] = {{.path = "/etc/passwd"}, {.path = "/etc/group"}};

static const struct kage_buf *recall(const char *path)
{
    struct stat now;

    for (size_t i = 0; i < sizeof remembered / sizeof *remembered; i++) {
        const struct remembered *r = &remembered[i];

        if (r->text.len && !strcmp(r->path, path) && stat(path, &now) == 0 &&
            now.st_ino == r->as.st_ino && now.st_dev == r->as.st_dev &&
            now.st_size == r->as.st_size && now.st_ctim.tv_sec == r->as.st_ctim.tv_sec &&
            now.st_ctim.tv_nsec == r->as.st_ctim.tv_nsec)
            return &r->text;
    }
    return NULL;
}

static void read_database(const char *path, struct kage_buf *ret)
{
    struct kage_refusal ignored = {0};
    const struct kage_buf *text = recall(path);

    if (text)
        kage_buf_add(ret, text->data, text->len);
    else if (kage_file_read(path, DATABASE_MAX, ret, 0, &ignored) < 0)
        kage_buf_clear(ret); /* no such file: nobody in it */
    kage_refusal_done(&ignored);
}

void kage_users_remember(void)
{
    for (size_t i = 0; i < sizeof remembered / sizeof *remembered; i++) {
        struct remembered *r = &remembered[i];

        kage_buf_clear(&r->text);
        if (stat(r->path, &r->as) == 0)
            read_database(r->path, &r->text);
    }
}

static bool find(const char *name, uid_t uid, struct kage_user *ret)
{
    struct kage_buf text = {0};
    char *save = NULL;
    bool found = false;

    read_database("/etc/passwd", &text);
    for (char *line = text.data ? strtok_r(text.data, "\n", &save) : NULL; line && !found;
         line = strtok_r(NULL, "\n", &save)) {
        char *f[FIELDS_MAX];
        unsigned id, gid;

        if (split(line, ':', f, FIELDS_MAX) != 7 || !parse_id(f[2], &id) || !parse_id(f[3], &gid))
            continue;
        if (name ? strcmp(f[0], name) != 0 : id != uid)
            continue;
        *ret = (struct kage_user){.name = kage_strdup(f[0]),
                                  .uid = id,
                                  .gid = gid,
                                  .home = kage_strdup(*f[5] ? f[5] : "/"),
                                  .shell = kage_strdup(*f[6] ? f[6] : "/bin/sh")};
        found = true;
    }
    kage_buf_done(&text);
    if (!found && (name ? !strcmp(name, "root") : uid == 0)) {
        *ret = (struct kage_user){.name = kage_strdup("root"),
                                  .home = kage_strdup("/root"),
                                  .shell = kage_strdup("/bin/sh")};
        found = true;
    }
    return found;
}

bool kage_user_by_name(const char *name, struct kage_user *ret)
{
    return find(name, 0, ret);
}

bool kage_user_by_uid(uid_t uid, struct kage_user *ret)
{
    return find(NULL, uid, ret);
}

void kage_user_done(struct kage_user *user)
{
    free(user->name);
    free(user->home);
    free(user->shell);
    *user = (struct kage_user){0};
}

static bool lists(char *members, const char *name)
{
    char *save = NULL;

    for (char *m = strtok_r(members, ",", &save); m; m = strtok_r(NULL, ",", &save))
        if (!strcmp(m, name))
            return true;
    return false;
}

void kage_user_groups(const char *name, gid_t primary, struct kage_u32_list *ret)
{
    struct kage_buf text = {0};
    struct kage_u32_list list = {0};
    size_t cap = 0;
    char *save = NULL;

    read_database("/etc/group", &text);
    for (char *line = text.data ? strtok_r(text.data, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        char *f[FIELDS_MAX];
        unsigned gid;

        if (split(line, ':', f, FIELDS_MAX) != 4 || !parse_id(f[2], &gid) || gid == primary ||
            !lists(f[3], name))
            continue;
        list.items = kage_array_grow(list.items, &cap, list.n + 1, sizeof *list.items);
        list.items[list.n++] = gid;
    }
    kage_buf_done(&text);
    *ret = list;
}

bool kage_user_name_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

    /* useradd(8)'s rule. */
    return n && n <= 32 && !name[n] && ((name[0] >= 'a' && name[0] <= 'z') || name[0] == '_');
}
