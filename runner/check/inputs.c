#include "runner/check/inputs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/error.h"

/* Folders this deep hold no specs of anyone's. */
#define MAX_DEPTH 16

static void add(struct kage_inputs *inputs, const char *path)
{
    inputs->paths =
        kage_array_grow(inputs->paths, &inputs->cap, inputs->n + 1, sizeof(*inputs->paths));
    inputs->paths[inputs->n++] = kage_strdup(path);
}

void kage_inputs_done(struct kage_inputs *inputs)
{
    for (size_t i = 0; i < inputs->n; i++)
        free(inputs->paths[i]);
    free(inputs->paths);
    *inputs = (struct kage_inputs){0};
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

static bool has_line(const char *text, const char *start)
{
    size_t n = strlen(start);
    for (const char *p = text; p;) {
        if (strncmp(p, start, n) == 0)
            return true;
        p = strchr(p, '\n');
        if (p)
            p++;
    }
    return false;
}

/* Repositories are full of YAML that is something else; a spec has a version, and commands or an
 * image. A file with .kage. in its name is one whatever is in it. */
static bool is_spec(int folder, const char *name)
{
    if (ends_with(name, ".kage.yaml") || ends_with(name, ".kage.yml"))
        return true;
    if (!ends_with(name, ".yaml") && !ends_with(name, ".yml"))
        return false;
    char text[65536];
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return has_line(text, "version:") && (has_line(text, "commands:") || has_line(text, "image:"));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "node_modules") != 0;
}

/* Files before folders, both by name, so that output is the same everywhere. */
static int walk(struct kage_inputs *inputs, const char *folder, int depth, struct kage_error *err)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_visible, by_name);
    if (n < 0)
        return kage_error_errno(err, KAGE_CLASS_SPEC, errno, "cannot read %s", folder);
    KAGE_CLEANUP(kage_closep) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int ret = 0;
    for (int folders = 0; folders < 2; folders++) {
        for (int i = 0; i < n && ret == 0; i++) {
            const char *name = entries[i]->d_name;
            struct stat st;
            if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                continue;
            bool slash = ends_with(folder, "/") || strcmp(folder, "/") == 0;
            KAGE_CLEANUP(kage_freep)
            char *path = kage_asprintf("%s%s%s", folder, slash ? "" : "/", name);
            if (folders && S_ISDIR(st.st_mode) && depth < MAX_DEPTH)
                ret = walk(inputs, path, depth + 1, err);
            else if (!folders && S_ISREG(st.st_mode) && is_spec(fd, name))
                add(inputs, path);
        }
    }
    for (int i = 0; i < n; i++)
        free(entries[i]);
    free(entries);
    return ret;
}

int kage_inputs_add(struct kage_inputs *inputs, const char *argument, struct kage_error *err)
{
    struct stat st;
    size_t before = inputs->n;
    if (strcmp(argument, "-") == 0 || (stat(argument, &st) == 0 && !S_ISDIR(st.st_mode))) {
        add(inputs, argument);
    } else if (stat(argument, &st) == 0) {
        if (walk(inputs, argument, 0, err) < 0)
            return -1;
        if (inputs->n == before)
            return kage_error_set(err, KAGE_CLASS_SPEC, "there is no spec in %s", argument);
    } else if (strpbrk(argument, "*?[")) {
        glob_t found = {0};
        if (glob(argument, GLOB_BRACE, NULL, &found) == 0)
            for (size_t i = 0; i < found.gl_pathc; i++)
                add(inputs, found.gl_pathv[i]);
        globfree(&found);
        if (inputs->n == before)
            return kage_error_set(err, KAGE_CLASS_SPEC, "nothing matches %s", argument);
    } else {
        add(inputs, argument); /* reading it will say what is wrong */
    }
    return 0;
}
