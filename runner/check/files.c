#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "runner/check/checks.h"
#include "runner/spec/suggest.h"

static const char *show(struct kage_diags *diags, const char *s)
{
    return kage_diags_show(diags, s, strlen(s));
}

/* Whether an absolute path, taken word by word, leaves `folder`. */
static bool leaves(const char *path, const char *folder)
{
    size_t n = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
    if (strncmp(path, folder, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return true;
    int depth = 0;
    for (const char *p = path + n; *p;) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            depth--;
        else if (len && !(len == 1 && p[0] == '.'))
            depth++;
        if (depth < 0)
            return true;
        p += len;
    }
    return false;
}

static bool is_mounted(const struct kage_draft *draft, const char *share)
{
    for (size_t i = 0; i < draft->n_mounts; i++)
        if (draft->mounts[i].mount.source && strcmp(draft->mounts[i].mount.source, share) == 0)
            return true;
    return false;
}

static void check_path(const struct kage_draft_share *d, const struct kage_spec *spec,
                       struct kage_diags *diags)
{
    const char *path = d->share.path, *written = show(diags, d->written);
    struct stat st;
    struct kage_finding *f;
    if (stat(path, &st) < 0) {
        int why = errno;
        if (why == ENOENT)
            f = kage_diags_add(diags, K307_SHARE_PATH, d->path_at, "there is no folder '%s'",
                               written);
        else
            f = kage_diags_add(diags, K307_SHARE_PATH, d->path_at, "cannot look at '%s': %s",
                               written, strerror(why));
        if (d->written[0] == '~')
            kage_finding_help(f, "'~' is not expanded; write the path out");
        else
            kage_finding_help(f, "make it first; paths start from the folder of the spec");
    } else if (!S_ISDIR(st.st_mode)) {
        f = kage_diags_add(diags, K307_SHARE_PATH, d->path_at, "'%s' is not a folder", written);
        kage_finding_help(f, "share the folder that it is in");
    } else if (leaves(path, spec->folder)) {
        kage_diags_add(diags, K308_SHARE_OUTSIDE, d->path_at,
                       "share '%s' is outside the folder of the spec", show(diags, d->share.name));
    }
}

void kage_check_shares(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_shares; i++) {
        const struct kage_draft_share *d = &draft->shares[i];
        if (d->share.path)
            check_path(d, &draft->spec, diags);
        if (!is_mounted(draft, d->share.name))
            kage_diags_add(diags, K303_UNUSED_SHARE, d->at, "no mount uses share '%s'",
                           show(diags, d->share.name));
    }
}

/* path is dir itself or below it */
static bool within(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static void check_target(const struct kage_draft_mount *d, struct kage_diags *diags)
{
    /* the guest refuses exactly these */
    static const char *const reserved[] = {"/proc", "/sys", "/dev"};
    static const char *const system[] = {"/bin", "/boot", "/etc", "/lib", "/lib64",
                                         "/run", "/sbin", "/usr", "/var"};
    const char *target = d->mount.target;
    bool refused = strcmp(target, "/") == 0;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        refused |= within(target, reserved[i]);
    if (refused) {
        struct kage_finding *f =
            kage_diags_add(diags, K323_RESERVED_TARGET, d->target_at,
                           "nothing can be mounted at '%s'", show(diags, target));
        kage_finding_help(f, "choose a folder of your own, like /src or /scratch");
        return;
    }
    for (size_t i = 0; i < sizeof(system) / sizeof(system[0]); i++)
        if (strcmp(target, system[i]) == 0)
            kage_diags_add(diags, K324_SYSTEM_TARGET, d->target_at,
                           "this mount hides the image's own '%s'", target);
}

static void check_source(const struct kage_draft *draft, const struct kage_draft_mount *d,
                         struct kage_diags *diags)
{
    struct kage_suggestion s = {0};
    for (size_t i = 0; i < draft->n_shares; i++) {
        const struct kage_draft_share *share = &draft->shares[i];
        if (strcmp(share->share.name, d->mount.source) != 0) {
            if (i < KAGE_CHECK_CANDIDATES)
                kage_suggest(&s, d->mount.source, share->share.name, share->share.name);
            continue;
        }
        if (d->writable_at.loc.line && d->mount.writable && !share->share.writable) {
            struct kage_finding *f =
                kage_diags_add(diags, K309_READ_ONLY_SHARE, d->writable_at,
                               "share '%s' is read-only", show(diags, d->mount.source));
            kage_finding_help(f, "give the share 'writable: true'");
            kage_finding_also(f, share->at, "the share is here");
        }
        return;
    }
    struct kage_finding *f = kage_diags_add(diags, K302_UNDEFINED_SHARE, d->source_at,
                                            "there is no share '%s'", show(diags, d->mount.source));
    if (s.best)
        kage_finding_help(f, "did you mean '%s'?", show(diags, s.best));
    else
        kage_finding_help(f, "add it under 'shares'");
    if (kage_suggestion_is_certain(&s))
        kage_finding_fix_word(diags, f, d->source_at, d->mount.source, s.best);
}

/* Returns whether the later mount covers the earlier one. */
static bool compare_targets(const struct kage_draft_mount *earlier,
                            const struct kage_draft_mount *later, struct kage_diags *diags)
{
    const char *a = earlier->mount.target, *b = later->mount.target;
    if (!within(a, b))
        return false;
    if (strcmp(a, b) == 0) {
        struct kage_finding *f = kage_diags_add(diags, K305_TARGET_TWICE, later->target_at,
                                                "'%s' is mounted on twice", show(diags, b));
        kage_finding_also(f, earlier->target_at, "the first mount is here");
    } else {
        struct kage_finding *f = kage_diags_add(diags, K306_TARGET_HIDES, later->target_at,
                                                "this mount hides '%s'", show(diags, a));
        kage_finding_help(f, "mount the outer folder first");
        kage_finding_also(f, earlier->target_at, "it was mounted here");
    }
    return true;
}

void kage_check_mounts(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_mounts; i++) {
        const struct kage_draft_mount *d = &draft->mounts[i];
        if (d->mount.source && d->mount.type == KAGE_MOUNT_SHARE && !draft->shares_broken)
            check_source(draft, d, diags);
        if (!d->mount.target)
            continue;
        check_target(d, diags);
        for (size_t k = 0; k < i; k++)
            if (draft->mounts[k].mount.target && compare_targets(&draft->mounts[k], d, diags))
                break;
    }
}
