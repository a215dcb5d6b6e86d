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
#include "runner/spec/matrix.h"
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
    static const char *const same[] = {"1", "1.0", "v1", "V1"};
    for (size_t i = 0; scalar && i < sizeof(same) / sizeof(same[0]); i++)
        if (value->one_line && strcmp(value->text, same[i]) == 0)
            kage_finding_fix(diags, f, value->at, "1");
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

/* From text to tree. NULL when the file gives nothing that could be judged further. */
static const struct kage_node *read_tree(struct kage_reader *r, const char *file, const char *text,
                                         size_t len)
{
    if (kage_foreign_text(file, text, len, r->diags))
        return NULL;
    size_t before = kage_diags_count(r->diags, KAGE_ERROR);
    const struct kage_node *root = kage_yaml_parse(r->arena, file, text, len, r->diags);
    if (!root && kage_diags_count(r->diags, KAGE_ERROR) > before)
        return NULL;
    if (root && kage_foreign_tree(root, r->diags))
        return NULL;
    if (!root || root->kind != KAGE_NODE_MAP) {
        if (!root || !root->broken)
            report_no_map(root, file, r->diags);
        return NULL;
    }
    if (!check_version(root, r->diags))
        return NULL;
    return root;
}

static const struct kage_node *value_of(const struct kage_node *root, const char *key)
{
    const struct kage_pair *pair = kage_node_find(root, key);
    return pair ? pair->value : NULL;
}

static bool is_broken(const struct kage_node *root, const char *key)
{
    const struct kage_node *value = value_of(root, key);
    return value && value->kind != KAGE_NODE_MAP;
}

/* One job of the file, from tree to judged draft. */
static struct kage_draft *read_job(struct kage_reader *r, const struct kage_node *root,
                                   const char *file, const char *folder)
{
    struct kage_draft *draft = kage_arena_alloc(r->arena, sizeof(*draft));
    draft->spec.file = (char *)file;
    draft->spec.folder = (char *)folder;
    draft->spec.arena = r->arena;
    draft->spec.matrix = (struct kage_spec_choice *)r->matrix;
    draft->spec.n_matrix = r->n_matrix;
    kage_read_object(r, KAGE_OBJECT_JOB, root, (struct kage_span){{file, 1, 1}, 1}, draft);
    draft->shares_broken = is_broken(root, "shares");
    draft->users_broken = is_broken(root, "users");
    draft->secrets_broken = is_broken(root, "secrets");
    kage_resolve(r, draft);
    kage_check_draft(draft, r->diags);
    return draft;
}

/* Jobs that are all alike need not be read one by one. */
static struct kage_draft *copy_job(struct kage_reader *r, const struct kage_draft *first)
{
    struct kage_draft *draft = kage_arena_alloc(r->arena, sizeof(*draft));
    *draft = *first;
    draft->spec.matrix = (struct kage_spec_choice *)r->matrix;
    draft->spec.next_job = NULL;
    return draft;
}

/* Values that are read for all jobs of a matrix together: a file of the largest size for each of
 * 256 jobs would keep `kage check` busy for seconds. */
#define MAX_VALUES ((size_t)250000)
#define MAX_TEXT ((size_t)16 * 1024 * 1024)

static bool is_bounded(struct kage_reader *r, const struct kage_node *root,
                       const struct kage_matrix *matrix)
{
    size_t jobs = matrix->n_jobs;
    if (jobs <= 1 || !r->matrix_used ||
        (root->weight <= MAX_VALUES / jobs && root->bytes <= MAX_TEXT / jobs))
        return true;
    struct kage_span at = kage_node_find(root, "matrix")->key->at;
    if (root->weight > MAX_VALUES / jobs)
        kage_diags_add(r->diags, K314_TOO_MANY_JOBS, at,
                       "%zu jobs of a spec with %zu values are too much", jobs, root->weight);
    else
        kage_diags_add(r->diags, K314_TOO_MANY_JOBS, at,
                       "%zu jobs of a spec with %zu KiB of text are too much", jobs,
                       root->bytes / 1024);
    return false;
}

/* In a plan each command of each job has its environment with it: a file of the largest size could
 * become gigabytes. */
#define MAX_PLAN ((size_t)32 * 1024 * 1024)
#define PLAN_OF_COMMAND 512 /* what a command takes besides its texts */

static size_t env_size(const struct kage_spec_envs *env)
{
    size_t n = 0;
    for (size_t i = 0; i < env->n; i++)
        n += (env->items[i].name ? strlen(env->items[i].name) : 0) + 6 +
             (env->items[i].value ? strlen(env->items[i].value) : 0);
    return n;
}

static size_t plan_size(const struct kage_draft *draft)
{
    size_t all = 0, common = env_size(&draft->env);
    for (size_t i = 0; i < draft->n_commands; i++) {
        const struct kage_spec_command *c = &draft->commands[i].command;
        all += PLAN_OF_COMMAND + (c->run ? strlen(c->run) : 0);
        for (size_t k = 0; k < c->n_argv; k++)
            all += c->argv[k] ? strlen(c->argv[k]) : 0;
        all += c->env.items == draft->env.items ? common : env_size(&c->env);
    }
    return all;
}

/* Counts one more job; false when they have become too much. */
static bool is_plannable(struct kage_reader *r, const struct kage_draft *draft, size_t jobs,
                         size_t *sum)
{
    size_t one = plan_size(draft);
    *sum += one;
    if (*sum <= MAX_PLAN)
        return true;
    struct kage_finding *f =
        kage_diags_add(r->diags, K112_TOO_BIG, draft->commands_at,
                       "a plan of %zu %s, %zu commands each, would be larger than 32 MiB", jobs,
                       jobs == 1 ? "job" : "jobs", draft->n_commands);
    kage_finding_help(f, "every command gets the whole environment: put what is long into a file "
                         "of a share");
    return false;
}

/* All jobs of the file, linked in their order; NULL when it gave none. */
static struct kage_draft *read_jobs(struct kage_reader *r, const char *file, const char *folder,
                                    const char *text, size_t len)
{
    const struct kage_node *root = read_tree(r, file, text, len);
    struct kage_draft *first = NULL;
    struct kage_spec **link = NULL;
    struct kage_matrix matrix;
    size_t planned = 0;
    if (!root)
        return NULL;
    r->host_env = value_of(root, "host-env");
    r->secrets = value_of(root, "secrets");
    r->matrix_broken = !kage_matrix_read(r, value_of(root, "matrix"), &matrix);
    r->n_matrix = matrix.n_axes;
    for (size_t i = 0; i < matrix.n_jobs; i++) {
        r->matrix = matrix.jobs[i];
        struct kage_draft *draft =
            first && !r->matrix_used ? copy_job(r, first) : read_job(r, root, file, folder);
        if (link) {
            *link = &draft->spec;
            kage_check_jobs(first, draft, r->diags);
        }
        link = &draft->spec.next_job;
        first = first ? first : draft;
        kage_resolve_lists(r, draft);
        if ((i == 0 && !is_bounded(r, root, &matrix)) ||
            !is_plannable(r, draft, matrix.n_jobs, &planned))
            break;
    }
    return first;
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
    file = kage_arena_strdup(arena, file);
    folder = kage_arena_strdup(arena, folder);
    kage_diags_file(diags, file, text, len);

    size_t before = kage_diags_count(diags, KAGE_ERROR);
    struct kage_draft *draft = read_jobs(&reader, file, folder, text, len);
    kage_diags_suppress(diags, file);
    if (kage_diags_count(diags, KAGE_ERROR) > before) {
        kage_arena_free(arena);
        return 1;
    }
    *ret = &draft->spec;
    return 0;
}

int kage_spec_read(const char *path, struct kage_buf *text, char **ret_folder,
                   struct kage_error *err)
{
    return read_all(path, text, err) < 0 || find_folder(path, ret_folder, err) < 0 ? -1 : 0;
}

int kage_spec_load(const char *path, struct kage_spec **ret, struct kage_diags *diags,
                   struct kage_error *err)
{
    KAGE_CLEANUP(kage_buf_done) struct kage_buf text = {0};
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    if (kage_spec_read(path, &text, &folder, err) < 0)
        return -1;
    const char *shown = strcmp(path, "-") == 0 ? "<stdin>" : path;
    return kage_spec_load_text(shown, folder, text.data ? text.data : "", text.len, ret, diags);
}

bool kage_spec_uses_secret(const struct kage_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_commands; i++)
        for (size_t k = 0; k < spec->commands[i].n_secrets; k++)
            if (strcmp(spec->commands[i].secrets[k], name) == 0)
                return true;
    return false;
}

void kage_spec_free(struct kage_spec *spec)
{
    if (spec)
        kage_arena_free(spec->arena);
}
