#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/check/check.h"
#include "runner/spec/foreign.h"
#include "runner/spec/reader.h"
#include "runner/spec/resolve.h"
#include "runner/yaml/scalar.h"

static int read_all(const char *path, struct kage_buf *text, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(path, strlen(path));
    bool input = strcmp(path, "-") == 0;
    int fd = input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    int ret = 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        ret = kage_error_errno(err, KAGE_CLASS_SPEC, errno, "cannot read %s", shown);
    else if (S_ISDIR(st.st_mode))
        ret = kage_error_set(err, KAGE_CLASS_SPEC, "cannot read %s: it is a folder", shown);
    char chunk[65536];
    /* one byte more than the limit is enough to know that it is passed */
    while (ret == 0 && text->len <= KAGE_YAML_MAX_BYTES) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0)
            break;
        if (n > 0)
            kage_buf_add(text, chunk, (size_t)n);
        else if (errno != EINTR)
            ret = kage_error_errno(err, KAGE_CLASS_SPEC, errno, "cannot read %s", shown);
    }
    if (fd >= 0 && !input)
        close(fd);
    return ret;
}

static int find_folder(const char *path, char **ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *parent = NULL;
    const char *slash = strrchr(path, '/');
    if (strcmp(path, "-") == 0 || !slash)
        parent = kage_strdup(".");
    else
        parent = slash == path ? kage_strdup("/") : kage_strndup(path, (size_t)(slash - path));
    *ret = realpath(parent, NULL);
    if (!*ret)
        return kage_error_errno(err, KAGE_CLASS_SPEC, errno, "cannot find the folder of %s", path);
    return 0;
}

/* Another version may give any other key another meaning, so nothing else is judged then. */
static bool check_version(const struct kage_node *root, struct kage_diags *diags)
{
    const struct kage_pair *version = kage_node_find(root, "version");
    if (!version || version->value->broken)
        return true;
    const struct kage_node *value = version->value;
    int64_t number;
    if (value->kind == KAGE_NODE_SCALAR && kage_scalar_resolve(value) == KAGE_SCALAR_INT &&
        kage_scalar_int(value, &number) == 0 && number == 1)
        return true;
    bool scalar = value->kind == KAGE_NODE_SCALAR;
    struct kage_finding *f = kage_diags_add(
        diags, K210_VERSION, value->at, "version %s%s%s is not one this kage reads",
        scalar ? "'" : "", scalar ? kage_diags_show(diags, value->text, value->len) : "",
        scalar ? "'" : "of another type");
    kage_finding_help(f, "write version: 1");
    return false;
}

static void report_no_map(const struct kage_node *root, const char *file, struct kage_diags *diags)
{
    struct kage_span at = {{file, 1, 1}, 1};
    struct kage_finding *f;
    bool empty = !root || (root->kind == KAGE_NODE_SCALAR && root->len == 0);
    if (empty)
        f = kage_diags_add(diags, K202_MISSING_KEY, at, "the file is empty");
    else
        f = kage_diags_add(diags, K203_WRONG_TYPE, root->at, "a spec must be a map, not %s",
                           kage_node_kind_name(root));
    kage_finding_help(f, "start with 'version: 1', then 'image' and 'commands'");
}

/* From text to draft. False when the file gives nothing that could be judged further. */
static bool read_draft(struct kage_reader *r, const char *file, const char *text, size_t len,
                       struct kage_draft *draft)
{
    if (kage_foreign_text(file, text, len, r->diags))
        return false;
    size_t before = kage_diags_count(r->diags, KAGE_ERROR);
    const struct kage_node *root = kage_yaml_parse(r->arena, file, text, len, r->diags);
    if (!root && kage_diags_count(r->diags, KAGE_ERROR) > before)
        return false;
    if (root && kage_foreign_tree(root, r->diags))
        return false;
    if (!root || root->kind != KAGE_NODE_MAP) {
        if (!root || !root->broken)
            report_no_map(root, file, r->diags);
        return false;
    }
    if (!check_version(root, r->diags))
        return false;
    const struct kage_pair *host_env = kage_node_find(root, "host-env");
    r->host_env = host_env ? host_env->value : NULL;
    kage_read_object(r, KAGE_OBJECT_JOB, root, (struct kage_span){{file, 1, 1}, 1}, draft);
    const struct kage_pair *shares = kage_node_find(root, "shares");
    const struct kage_pair *users = kage_node_find(root, "users");
    draft->shares_broken = shares && shares->value->kind != KAGE_NODE_MAP;
    draft->users_broken = users && users->value->kind != KAGE_NODE_MAP;
    return true;
}

int kage_spec_load_text(const char *file, const char *folder, const char *text, size_t len,
                        struct kage_spec **ret, struct kage_diags *diags)
{
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3; /* a byte order mark says nothing about UTF-8 */
        len -= 3;
    }
    struct kage_arena *arena = kage_arena_new();
    struct kage_reader reader = {.arena = arena, .diags = diags};
    struct kage_draft *draft = kage_arena_alloc(arena, sizeof(*draft));
    draft->spec.file = kage_arena_strdup(arena, file);
    draft->spec.folder = kage_arena_strdup(arena, folder);
    draft->spec.arena = arena;
    kage_diags_file(diags, file, text, len);

    size_t before = kage_diags_count(diags, KAGE_ERROR);
    if (read_draft(&reader, draft->spec.file, text, len, draft)) {
        kage_resolve(&reader, draft);
        kage_check_draft(draft, diags);
    }
    kage_diags_suppress(diags, file);
    if (kage_diags_count(diags, KAGE_ERROR) > before) {
        kage_arena_free(arena);
        return 1;
    }
    kage_resolve_lists(&reader, draft);
    *ret = &draft->spec;
    return 0;
}

int kage_spec_load(const char *path, struct kage_spec **ret, struct kage_diags *diags,
                   struct kage_error *err)
{
    KAGE_CLEANUP(kage_buf_done) struct kage_buf text = {0};
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    if (read_all(path, &text, err) < 0 || find_folder(path, &folder, err) < 0)
        return -1;
    const char *shown = strcmp(path, "-") == 0 ? "<stdin>" : path;
    return kage_spec_load_text(shown, folder, text.data ? text.data : "", text.len, ret, diags);
}

void kage_spec_free(struct kage_spec *spec)
{
    if (spec)
        kage_arena_free(spec->arena);
}
