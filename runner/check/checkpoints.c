#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "runner/check/checks.h"
#include "runner/spec/below.h"

static const char *show(struct kage_diags *diags, const char *s)
{
    return kage_diags_show(diags, s, strlen(s));
}

static bool mounts_a_share(const struct kage_draft *draft)
{
    for (size_t i = 0; i < draft->n_mounts; i++)
        if (draft->mounts[i].mount.type == KAGE_MOUNT_SHARE)
            return true;
    return false;
}

static bool in_a_share(const struct kage_draft *draft, const char *path)
{
    for (size_t i = 0; i < draft->n_shares; i++) {
        const char *folder = draft->shares[i].share.path;
        KAGE_CLEANUP(kage_freep) char *below = folder ? kage_path_below(folder, path) : NULL;

        if (below)
            return true;
    }
    return false;
}

static void check_input(const struct kage_draft *draft, const struct kage_draft_name *written,
                        const char *path, struct kage_diags *diags)
{
    struct stat st;
    if (!in_a_share(draft, path)) {
        if (draft->shares_broken)
            return;
        struct kage_finding *f =
            kage_diags_add(diags, K330_INPUT_PATH, written->at,
                           "input '%s' is in none of the shares", show(diags, written->name));
        kage_finding_help(f, "name what a command reads through a share; paths start from the "
                             "folder of the spec");
    } else if (lstat(path, &st) < 0) {
        int why = errno;
        if (why == ENOENT || why == ENOTDIR)
            kage_diags_add(diags, K330_INPUT_PATH, written->at, "there is no '%s'",
                           show(diags, written->name));
        else
            kage_diags_add(diags, K330_INPUT_PATH, written->at, "cannot look at '%s': %s",
                           show(diags, written->name), strerror(why));
    }
}

/* A share cannot be taken away from under another mount, and QEMU saves no machine that has one. */
static void check_nesting(const struct kage_draft *draft, const struct kage_draft_command *d,
                          struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_mounts; i++) {
        const struct kage_draft_mount *inner = &draft->mounts[i];
        for (size_t k = 0; k < i && inner->mount.type != KAGE_MOUNT_SHARE; k++) {
            const struct kage_draft_mount *outer = &draft->mounts[k];
            KAGE_CLEANUP(kage_freep)
            char *below =
                outer->mount.type == KAGE_MOUNT_SHARE && outer->mount.target && inner->mount.target
                    ? kage_path_below(outer->mount.target, inner->mount.target)
                    : NULL;
            if (!below)
                continue;
            struct kage_finding *f = kage_diags_add(
                diags, K331_CHECKPOINT_UNUSED, d->checkpoint_at,
                "this checkpoint is never made: '%s' is mounted inside the share at '%s'",
                show(diags, inner->mount.target), show(diags, outer->mount.target));
            kage_finding_help(f, "mount it somewhere else");
            kage_finding_also(f, inner->target_at, "it is mounted here");
            return;
        }
    }
}

static void check_use(const struct kage_draft *draft, size_t i, struct kage_diags *diags)
{
    const struct kage_draft_command *d = &draft->commands[i];
    if (d->command.when == KAGE_WHEN_ON_FAILURE)
        kage_diags_add(diags, K331_CHECKPOINT_UNUSED, d->checkpoint_at,
                       "this checkpoint is never made: the command runs only after a failure");
    else if (draft->spec.machine.clock)
        kage_diags_add(diags, K331_CHECKPOINT_UNUSED, d->checkpoint_at,
                       "this checkpoint is never made: a machine with a clock of its own is always "
                       "booted");
    else if (i + 1 == draft->n_commands)
        kage_finding_help(kage_diags_add(diags, K331_CHECKPOINT_UNUSED, d->checkpoint_at,
                                         "no command comes after this checkpoint, so that a later "
                                         "run would run nothing"),
                          "put it on the last command of what prepares the machine");
    else
        check_nesting(draft, d, diags);
}

/* What was run before the checkpoint: does it tell what it reads, has it secrets. */
static void check_prefix(const struct kage_draft *draft, size_t last, struct kage_diags *diags)
{
    const struct kage_draft_command *d = &draft->commands[last];
    bool declared = false;
    for (size_t i = 0; i <= last; i++) {
        const struct kage_draft_command *c = &draft->commands[i];
        declared |= c->inputs_at.loc.line > 0;
        if (!c->n_secrets)
            continue;
        struct kage_finding *f =
            kage_diags_add(diags, K332_CHECKPOINT_SECRET, d->checkpoint_at,
                           "this checkpoint would hold secret '%s'",
                           show(diags, c->secrets[0].name ? c->secrets[0].name : ""));
        kage_finding_help(f, "run what needs it after the checkpoint");
        kage_finding_also(f, c->secrets[0].at, "it is given to a command here");
        break;
    }
    if (!declared && mounts_a_share(draft)) {
        struct kage_finding *f =
            kage_diags_add(diags, K329_INPUTS_UNDECLARED, d->checkpoint_at,
                           "nothing tells what this checkpoint depends on in the shares");
        kage_finding_help(f, "add 'inputs: [PATH, ...]' to the command that reads them, or "
                             "'inputs: []' if none does");
    }
}

void kage_check_checkpoints(const struct kage_draft *draft, struct kage_diags *diags)
{
    size_t checked = 0; /* commands that have a checkpoint after them */
    for (size_t i = 0; i < draft->n_commands; i++) {
        const struct kage_draft_command *d = &draft->commands[i];
        for (size_t k = 0; k < d->n_inputs; k++)
            if (d->inputs[k].name && k < d->command.n_inputs)
                check_input(draft, &d->inputs[k], d->command.inputs[k].path, diags);
        if (!d->command.checkpoint)
            continue;
        check_prefix(draft, i, diags);
        check_use(draft, i, diags);
        checked = i + 1;
    }
    for (size_t i = checked; i < draft->n_commands; i++)
        if (draft->commands[i].inputs_at.loc.line)
            kage_finding_help(kage_diags_add(diags, K331_CHECKPOINT_UNUSED,
                                             draft->commands[i].inputs_at,
                                             "no checkpoint comes after these inputs"),
                              "leave them out, or add 'checkpoint: true'");
}
