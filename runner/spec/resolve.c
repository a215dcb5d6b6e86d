#include "runner/spec/resolve.h"

#include <stdlib.h>
#include <string.h>

#include "runner/spec/reader.h"

/* A file name that says nothing, standard input's for one, leaves this. */
#define FALLBACK_NAME "job"
#define MAX_NAME 63
/* Bytes of a script's first line that serve as the command's name. */
#define MAX_TITLE 60

/* "./My Job.kage.yaml" to "my-job-kage": the nearest thing that is a valid name. */
static char *name_from_file(struct kage_reader *r, const char *file)
{
    const char *base = strrchr(file, '/');
    base = base ? base + 1 : file;
    const char *dot = strrchr(base, '.');
    size_t len = dot && dot > base ? (size_t)(dot - base) : strlen(base), n = 0;
    char *name = kage_arena_alloc(r->arena, len + 1);
    for (size_t i = 0; i < len && n < MAX_NAME; i++) {
        char c = base[i] >= 'A' && base[i] <= 'Z' ? (char)(base[i] + ('a' - 'A')) : base[i];
        bool fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (fits)
            name[n++] = c;
        else if (n && name[n - 1] != '-')
            name[n++] = '-';
    }
    while (n && name[n - 1] == '-')
        name[--n] = '\0';
    return n && file[0] != '<' ? name : kage_arena_strdup(r->arena, FALLBACK_NAME);
}

/* Relative paths start from the spec's folder. Symlinks and '..' are left to the kernel, which
 * alone knows where they lead. */
static char *absolute_path(struct kage_reader *r, const char *folder, char *path)
{
    if (!path || path[0] == '/')
        return path;
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
        while (*path == '/')
            path++;
    }
    if (!*path || strcmp(path, ".") == 0)
        return kage_arena_strdup(r->arena, folder);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return kage_arena_printf(r->arena, "%s/%.*s", strcmp(folder, "/") == 0 ? "" : folder, (int)n,
                             path);
}

static void resolve_image(struct kage_reader *r, struct kage_spec *spec)
{
    struct kage_spec_image *image = &spec->image;
    image->path = absolute_path(r, spec->folder, image->path);
    image->kernel = absolute_path(r, spec->folder, image->kernel);
    image->initrd = absolute_path(r, spec->folder, image->initrd);
    image->rootfs = absolute_path(r, spec->folder, image->rootfs);
    image->form = image->url      ? KAGE_IMAGE_URL
                  : image->path   ? KAGE_IMAGE_PATH
                  : image->kernel ? KAGE_IMAGE_KERNEL
                                  : KAGE_IMAGE_STORE;
}

static const struct kage_draft_share *find_share(const struct kage_draft *draft, const char *name)
{
    for (size_t i = 0; name && i < draft->n_shares; i++)
        if (strcmp(draft->shares[i].share.name, name) == 0)
            return &draft->shares[i];
    return NULL;
}

static int env_by_name(const void *a, const void *b)
{
    const struct kage_spec_env *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void sort_env(struct kage_spec_envs *env)
{
    if (env->n)
        qsort(env->items, env->n, sizeof(*env->items), env_by_name);
}

/* The command's own on top of the job's, both sorted; where it has none it borrows the job's. */
static void merge_env(struct kage_reader *r, const struct kage_spec_envs *job,
                      struct kage_spec_envs *own)
{
    if (own->n == 0) {
        *own = *job;
        return;
    }
    struct kage_spec_envs all = {
        .items = kage_arena_alloc(r->arena, (job->n + own->n) * sizeof(*all.items))};
    sort_env(own);
    for (size_t i = 0, k = 0; i < job->n || k < own->n;) {
        int order = i == job->n   ? 1
                    : k == own->n ? -1
                                  : strcmp(job->items[i].name, own->items[k].name);
        all.items[all.n++] = order < 0 ? job->items[i] : own->items[k];
        i += order <= 0;
        k += order >= 0;
    }
    *own = all;
}

static char *title(struct kage_reader *r, const struct kage_spec_command *c)
{
    if (c->id)
        return c->id;
    const char *text = c->run ? c->run : c->n_argv ? c->argv[0] : "command";
    text += strspn(text, " \t\r\n");
    size_t n = strcspn(text, "\r\n");
    if (n > MAX_TITLE) {
        n = MAX_TITLE;
        while (n && (text[n] & 0xc0) == 0x80)
            n--;
    }
    return kage_arena_strndup(r->arena, text, n);
}

/* A background command lasts as long as the job, so only a timeout of its own is meant for it. */
static void resolve_background(struct kage_draft_command *d)
{
    struct kage_spec_command *c = &d->command;
    if (c->background && !c->timeout_ms)
        c->timeout_loc = c->loc;
    if (!d->ready_at.loc.line)
        return;
    c->ready.kind = c->ready.tcp      ? KAGE_READY_TCP
                    : c->ready.n_exec ? KAGE_READY_EXEC
                    : c->ready.log    ? KAGE_READY_LOG
                    : c->ready.file   ? KAGE_READY_FILE
                                      : KAGE_READY_NONE;
}

static void resolve_command(struct kage_reader *r, struct kage_draft *draft,
                            struct kage_draft_command *d)
{
    struct kage_spec_command *c = &d->command;
    const struct kage_draft_defaults *defaults = &draft->defaults;
    const struct kage_spec_network *network = &draft->spec.network;
    if (!c->name)
        c->name = title(r, c);
    if (!c->user)
        c->user = defaults->user;
    if (!c->cwd)
        c->cwd = defaults->cwd;
    if (!c->shell)
        c->shell = defaults->shell;
    resolve_background(d);
    if (!c->timeout_ms && !c->background) {
        c->timeout_ms = defaults->timeout_ms;
        c->timeout_loc = defaults->timeout_at.loc.line ? defaults->timeout_loc : c->loc;
    }
    if (!d->sandbox_at.loc.line)
        c->sandbox = defaults->sandbox;
    if (!d->network_at.loc.line)
        c->network = network->outbound || network->n_forwards > 0;
    merge_env(r, &draft->env, &c->env);
    c->secrets = kage_arena_alloc(r->arena, (d->n_secrets + 1) * sizeof(*c->secrets));
    for (size_t i = 0; i < d->n_secrets; i++)
        c->secrets[c->n_secrets++] = d->secrets[i].name;
    c->inputs = kage_arena_alloc(r->arena, (d->n_inputs + 1) * sizeof(*c->inputs));
    for (size_t i = 0; i < d->n_inputs; i++)
        c->inputs[c->n_inputs++] = (struct kage_spec_input){
            .loc = d->inputs[i].at.loc,
            .path = absolute_path(r, draft->spec.folder, d->inputs[i].name)};
}

/* A pattern can match several things, so what it goes to is a folder. */
static void resolve_artifact(struct kage_reader *r, struct kage_spec_artifact *artifact)
{
    const char *name = artifact->path ? strrchr(artifact->path, '/') : NULL;
    size_t n = artifact->to ? strlen(artifact->to) : 0;
    if (n && artifact->to[n - 1] != '/' &&
        (strcmp(artifact->to, ".") == 0 || (name && strpbrk(name, "*?"))))
        artifact->to = kage_arena_printf(r->arena, "%s/", artifact->to);
}

void kage_resolve(struct kage_reader *r, struct kage_draft *draft)
{
    struct kage_spec *spec = &draft->spec;
    if (!spec->name)
        spec->name = name_from_file(r, spec->file);
    if (spec->machine.clock && strcmp(spec->machine.clock, "host") == 0)
        spec->machine.clock = NULL;
    resolve_image(r, spec);
    for (size_t i = 0; i < draft->n_shares; i++) {
        struct kage_spec_share *share = &draft->shares[i].share;
        draft->shares[i].written = share->path;
        share->path = absolute_path(r, spec->folder, share->path);
    }
    for (size_t i = 0; i < draft->n_mounts; i++) {
        struct kage_draft_mount *d = &draft->mounts[i];
        const struct kage_draft_share *share = find_share(draft, d->mount.source);
        if (d->mount.type != KAGE_MOUNT_SHARE)
            d->mount.writable = true;
        else if (!d->writable_at.loc.line && share)
            d->mount.writable = share->share.writable;
    }
    for (size_t i = 0; i < draft->n_users; i++) {
        struct kage_draft_user *d = &draft->users[i];
        if (!d->gid_at.loc.line)
            d->user.gid = d->user.uid;
    }
    for (size_t i = 0; i < draft->n_secrets; i++) {
        struct kage_spec_secret *secret = &draft->secrets[i].secret;
        secret->file = absolute_path(r, spec->folder, secret->file);
    }
    for (size_t i = 0; i < draft->n_artifacts; i++)
        resolve_artifact(r, &draft->artifacts[i].artifact);
    sort_env(&draft->env);
    for (size_t i = 0; i < draft->n_commands; i++)
        resolve_command(r, draft, &draft->commands[i]);
}

#define HAND_OVER(draft, list, count, member)                                                      \
    do {                                                                                           \
        (draft)->spec.count = (draft)->count;                                                      \
        (draft)->spec.list =                                                                       \
            kage_arena_alloc(r->arena, ((draft)->count + 1) * sizeof(*(draft)->spec.list));        \
        for (size_t i = 0; i < (draft)->count; i++)                                                \
            (draft)->spec.list[i] = (draft)->list[i].member;                                       \
    } while (0)

void kage_resolve_lists(struct kage_reader *r, struct kage_draft *draft)
{
    HAND_OVER(draft, shares, n_shares, share);
    HAND_OVER(draft, mounts, n_mounts, mount);
    HAND_OVER(draft, users, n_users, user);
    HAND_OVER(draft, secrets, n_secrets, secret);
    HAND_OVER(draft, commands, n_commands, command);
    HAND_OVER(draft, artifacts, n_artifacts, artifact);
}
