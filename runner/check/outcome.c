#include <string.h>

#include "runner/check/check.h"
#include "runner/check/checks.h"
#include "runner/spec/suggest.h"

/* What the later parts of the language add: secrets, background commands, artifacts. */

static const char *show(struct kage_diags *diags, const char *s)
{
    return kage_diags_show(diags, s, strlen(s));
}

static void check_name(const struct kage_draft *draft, const struct kage_draft_name *name,
                       struct kage_diags *diags)
{
    struct kage_suggestion s = {0};
    for (size_t i = 0; i < draft->n_secrets; i++) {
        const char *known = draft->secrets[i].secret.name;
        if (strcmp(known, name->name) == 0)
            return;
        if (i < KAGE_CHECK_CANDIDATES)
            kage_suggest(&s, name->name, known, known);
    }
    struct kage_finding *f = kage_diags_add(diags, K302_UNDEFINED_SHARE, name->at,
                                            "there is no secret '%s'", show(diags, name->name));
    if (s.best)
        kage_finding_help(f, "did you mean '%s'?", show(diags, s.best));
    else
        kage_finding_help(f, "add it: secrets: {%s: {env: %s}}", show(diags, name->name),
                          show(diags, name->name));
    if (kage_suggestion_is_certain(&s))
        kage_finding_fix_word(diags, f, name->at, name->name, s.best);
}

void kage_check_secrets(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_commands && !draft->secrets_broken; i++)
        for (size_t k = 0; k < draft->commands[i].n_secrets; k++)
            check_name(draft, &draft->commands[i].secrets[k], diags);
}

/* Of the command's own timeout and the job's, the one that comes first ends the waiting. */
static void check_ready_timeout(const struct kage_draft *draft, const struct kage_draft_command *d,
                                struct kage_diags *diags)
{
    const struct kage_spec_ready *ready = &d->command.ready;
    uint64_t own = d->timeout_at.loc.line ? d->command.timeout_ms : 0;
    uint64_t job = draft->spec.timeout_ms;
    bool by_own = own && (!job || own < job);
    uint64_t limit = by_own ? own : job;
    if ((ready->timeout_loc.line == ready->loc.line && ready->timeout_loc.col == ready->loc.col) ||
        !limit || ready->timeout_ms <= limit)
        return;
    struct kage_span around = by_own ? d->timeout_at : draft->timeout_at;
    struct kage_finding *f = kage_diags_add(
        diags, K318_TIMEOUT_LONGER, (struct kage_span){ready->timeout_loc, KAGE_SPAN_WORD},
        "this timeout is longer than the %s%s", by_own ? "command's" : "job's",
        around.loc.line ? "" : ", which is 1h by default");
    if (around.loc.line)
        kage_finding_also(f, around, "the %s is here", by_own ? "command's" : "job's");
}

void kage_check_background(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_commands; i++) {
        const struct kage_draft_command *d = &draft->commands[i];
        bool ready = d->ready_at.loc.line;
        if (ready && !d->command.background) {
            struct kage_finding *f =
                kage_diags_add(diags, K316_READY_IN_FRONT, d->ready_at,
                               "this command is not in the background: the next one waits for its "
                               "end");
            kage_finding_help(f, "add 'background: true'");
        }
        if (ready && d->command.background)
            check_ready_timeout(draft, d, diags);
        if (d->command.background && !ready && i + 1 < draft->n_commands) {
            struct kage_finding *f =
                kage_diags_add(diags, K317_NOT_AWAITED, d->background_at,
                               "the next command starts before this one can be used");
            kage_finding_help(f, "add ready: {tcp: PORT}, {exec: [...]}, {log: TEXT} or {file: "
                                 "PATH}");
        }
        if (d->command.retries) {
            struct kage_finding *f = kage_diags_add(diags, K509_RETRIES, d->retries_at,
                                                    "retries can hide a test that fails sometimes");
            kage_finding_help(f, "the result of the run lists every attempt");
        }
    }
}

/* path is dir itself or below it */
static bool within(const char *path, const char *dir)
{
    size_t n = strcmp(dir, "/") == 0 ? 0 : strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* The mount a path of the guest lies on: of those around it the last one. */
static const struct kage_draft_mount *mount_of(const struct kage_draft *draft, const char *path)
{
    const struct kage_draft_mount *found = NULL;
    for (size_t i = 0; i < draft->n_mounts; i++) {
        const char *target = draft->mounts[i].mount.target;
        if (target && within(path, target) &&
            (!found || strlen(target) >= strlen(found->mount.target)))
            found = &draft->mounts[i];
    }
    return found;
}

/* Whether both would be written to the same name. What a pattern matches only the run knows: two
 * patterns that differ are taken to match different things. */
static bool collide(const struct kage_spec_artifact *a, const struct kage_spec_artifact *b)
{
    if (!a->to || !b->to || !a->path || !b->path || strcmp(a->to, b->to) != 0)
        return false;
    if (a->to[strlen(a->to) - 1] != '/')
        return true;
    return strcmp(strrchr(a->path, '/'), strrchr(b->path, '/')) == 0;
}

static bool is_kernel(const char *path)
{
    return within(path, "/proc") || within(path, "/sys") || within(path, "/dev");
}

void kage_check_artifacts(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_artifacts; i++) {
        const struct kage_draft_artifact *d = &draft->artifacts[i];
        const struct kage_draft_mount *mount =
            d->artifact.path ? mount_of(draft, d->artifact.path) : NULL;
        if (!mount && d->artifact.path && is_kernel(d->artifact.path))
            kage_diags_add(diags, K319_ARTIFACT_UNWRITTEN, d->path_at,
                           "what is there is the kernel's, and no file");
        if (mount && !mount->mount.writable) {
            struct kage_finding *f = kage_diags_add(diags, K319_ARTIFACT_UNWRITTEN, d->path_at,
                                                    "no command can write there");
            kage_finding_also(f, mount->target_at, "it is on this read-only mount");
        }
        for (size_t k = 0; k < i; k++) {
            if (!collide(&draft->artifacts[k].artifact, &d->artifact))
                continue;
            struct kage_finding *f = kage_diags_add(diags, K327_ARTIFACTS_COLLIDE, d->to_at,
                                                    "this artifact replaces an earlier one");
            kage_finding_also(f, draft->artifacts[k].to_at, "the earlier one is here");
            break;
        }
    }
}

void kage_check_jobs(const struct kage_draft *first, const struct kage_draft *later,
                     struct kage_diags *diags)
{
    for (size_t i = 0; i < later->n_artifacts && i < first->n_artifacts; i++) {
        if (!collide(&first->artifacts[i].artifact, &later->artifacts[i].artifact))
            continue;
        struct kage_finding *f =
            kage_diags_add(diags, K327_ARTIFACTS_COLLIDE, later->artifacts[i].to_at,
                           "several jobs of the matrix write this artifact to one place");
        kage_finding_help(f, "use ${matrix.AXIS} in it");
    }
}
