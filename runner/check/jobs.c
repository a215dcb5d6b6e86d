#include <string.h>

#include "runner/check/checks.h"
#include "runner/spec/suggest.h"

static const char *show(struct kage_diags *diags, const char *s)
{
    return kage_diags_show(diags, s, strlen(s));
}

/* kage's own kernel boots what comes without one. */
static void check_own_kernel(const struct kage_draft *draft, struct kage_diags *diags)
{
    const struct kage_spec_machine *machine = &draft->spec.machine;
    struct kage_span at = {machine->kernel_loc, KAGE_SPAN_WORD};

    if (machine->kernel == KAGE_OWN_KERNEL_ANY || !draft->spec.image.kernel)
        return;
    struct kage_finding *f = kage_diags_add(
        diags, K204_EXCLUSIVE, at, "the image has a kernel of its own, so kage's cannot boot it");
    kage_finding_also(f, draft->image_at, "'kernel' of the image is here");
    kage_finding_help(f, "leave one of them out");
}

void kage_check_image(const struct kage_draft *draft, struct kage_diags *diags)
{
    const struct kage_spec_image *image = &draft->spec.image;
    check_own_kernel(draft, diags);
    if (!image->url)
        return;
    struct kage_span at = draft->image_at;
    if (strncmp(image->url, "http:", 5) == 0)
        kage_finding_help(
            kage_diags_add(diags, K403_PLAIN_HTTP, at, "the image is fetched over plain http"),
            "use https");
    if (!image->digest)
        kage_finding_help(
            kage_diags_add(diags, K401_NO_DIGEST, at, "the image is not pinned to a digest"),
            "add digest: sha256:...");
}

void kage_check_network(const struct kage_draft *draft, struct kage_diags *diags)
{
    const struct kage_spec_network *network = &draft->spec.network;
    for (size_t i = 0; i < network->n_forwards; i++) {
        const struct kage_spec_forward *f = &network->forwards[i];
        struct kage_span at = {f->loc, KAGE_SPAN_WORD};
        if (strncmp(f->address, "127.", 4) != 0)
            kage_diags_add(diags, K410_FORWARD_OPEN, at, "port %u is open to other machines on %s",
                           f->host_port, f->address);
        for (size_t k = 0; k < i; k++) {
            const struct kage_spec_forward *g = &network->forwards[k];
            bool any = strcmp(f->address, "0.0.0.0") == 0 || strcmp(g->address, "0.0.0.0") == 0;
            if (f->host_port != g->host_port || f->udp != g->udp ||
                (!any && strcmp(f->address, g->address) != 0))
                continue;
            struct kage_finding *finding = kage_diags_add(
                diags, K311_PORT_TWICE, at, "port %u of the host is forwarded twice", f->host_port);
            kage_finding_also(finding, (struct kage_span){g->loc, KAGE_SPAN_WORD},
                              "the first time is here");
            break;
        }
    }
}

static void check_user(const struct kage_draft *draft, const char *name, struct kage_span at,
                       struct kage_diags *diags)
{
    if (!at.loc.line || !name || strcmp(name, "root") == 0 || draft->users_broken)
        return;
    struct kage_suggestion s = {0};
    kage_suggest(&s, name, "root", "root");
    for (size_t i = 0; i < draft->n_users; i++) {
        const char *known = draft->users[i].user.name;
        if (strcmp(known, name) == 0)
            return;
        if (i < KAGE_CHECK_CANDIDATES)
            kage_suggest(&s, name, known, known);
    }
    struct kage_finding *f =
        kage_diags_add(diags, K301_UNDEFINED_USER, at, "there is no user '%s'", show(diags, name));
    if (s.best)
        kage_finding_help(f, "did you mean '%s'?", show(diags, s.best));
    else
        kage_finding_help(f, "add it: users: {%s: {uid: 1000}}", show(diags, name));
    if (kage_suggestion_is_certain(&s))
        kage_finding_fix_word(diags, f, at, name, s.best);
}

void kage_check_users(const struct kage_draft *draft, struct kage_diags *diags)
{
    check_user(draft, draft->defaults.user, draft->defaults.user_at, diags);
    for (size_t i = 0; i < draft->n_users; i++) {
        const struct kage_draft_user *d = &draft->users[i];
        if (strcmp(d->user.name, "root") == 0)
            kage_diags_add(diags, K310_UID_TWICE, d->at, "'root' is always there, with uid 0");
        for (size_t k = 0; k < i && d->user.uid; k++) {
            const struct kage_draft_user *first = &draft->users[k];
            if (first->user.uid != d->user.uid)
                continue;
            struct kage_finding *f = kage_diags_add(diags, K310_UID_TWICE, d->uid_at,
                                                    "uid %u is given twice", d->user.uid);
            kage_finding_also(f, first->uid_at, "user '%s' has it", show(diags, first->user.name));
            break;
        }
    }
}

static void check_id(const struct kage_draft *draft, size_t i, struct kage_diags *diags)
{
    const struct kage_draft_command *d = &draft->commands[i];
    for (size_t k = 0; k < i && d->command.id; k++) {
        const struct kage_draft_command *first = &draft->commands[k];
        if (!first->command.id || strcmp(first->command.id, d->command.id) != 0)
            continue;
        struct kage_finding *f = kage_diags_add(
            diags, K315_ID_TWICE, d->id_at, "id '%s' is given twice", show(diags, d->command.id));
        kage_finding_also(f, first->id_at, "the first one is here");
        return;
    }
}

static void check_timeout(const struct kage_draft *draft, uint64_t ms, struct kage_span at,
                          struct kage_diags *diags)
{
    if (!at.loc.line || ms <= draft->spec.timeout_ms || !draft->spec.timeout_ms)
        return;
    struct kage_finding *f =
        kage_diags_add(diags, K318_TIMEOUT_LONGER, at, "this timeout is longer than the job's%s",
                       draft->timeout_at.loc.line ? "" : ", which is 1h by default");
    if (draft->timeout_at.loc.line)
        kage_finding_also(f, draft->timeout_at, "the job's is here");
}

void kage_check_commands(const struct kage_draft *draft, struct kage_diags *diags)
{
    const struct kage_spec_network *network = &draft->spec.network;
    check_timeout(draft, draft->defaults.timeout_ms, draft->defaults.timeout_at, diags);
    for (size_t i = 0; i < draft->n_commands; i++) {
        const struct kage_draft_command *d = &draft->commands[i];
        check_user(draft, d->command.user, d->user_at, diags);
        check_id(draft, i, diags);
        check_timeout(draft, d->command.timeout_ms, d->timeout_at, diags);
        if (d->network_at.loc.line && d->command.network && !network->outbound &&
            !network->n_forwards) {
            struct kage_finding *f = kage_diags_add(diags, K320_NETWORK_LOOSENED, d->network_at,
                                                    "the job's network is off");
            kage_finding_help(f, "write 'network: on' for the job, and 'network: off' for the "
                                 "commands that do without");
        }
    }
}
