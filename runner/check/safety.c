#include <ctype.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/check/checks.h"
#include "runner/spec/fields.h"

/* What a spec gives away, and how much it leaves to chance. */

/* How the tokens of common services begin, and how much has to follow: their documented formats,
 * which are made to be found. A text that merely mentions a prefix is shorter. */
static const struct {
    const char *prefix;
    size_t rest;
} tokens[] = {
    {"ghp_", 36},     {"gho_", 36},     {"ghu_", 36},      {"ghs_", 36},      {"ghr_", 36},
    {"glpat-", 20},   {"AKIA", 16},     {"ASIA", 16},      {"xoxb-", 20},     {"xoxp-", 20},
    {"sk_live_", 16}, {"rk_live_", 16}, {"sk-ant-", 20},   {"sk-proj-", 20},  {"AIza", 35},
    {"npm_", 36},     {"hf_", 30},      {"pypi-AgEI", 40}, {"dckr_pat_", 20}, {"github_pat_", 22},
};

static bool is_known_token(const char *value)
{
    if (strstr(value, "-----BEGIN ") && strstr(value, "PRIVATE KEY-----"))
        return true;
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        size_t n = strlen(tokens[i].prefix);
        if (strncmp(value, tokens[i].prefix, n) != 0)
            continue;
        const char *rest = value + n;
        size_t word = 0;
        while (isalnum((unsigned char)rest[word]) || rest[word] == '_' || rest[word] == '-')
            word++;
        if (word >= tokens[i].rest && rest[word] == '\0')
            return true;
    }
    return false;
}

static bool sounds_secret(const char *name)
{
    static const char *const words[] = {"TOKEN",   "SECRET",      "PASSWORD",   "PASSWD",
                                        "API_KEY", "PRIVATE_KEY", "ACCESS_KEY", "CREDENTIAL"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasestr(name, words[i]))
            return true;
    return false;
}

/* Long, of letters and digits that make no words: what a machine made. The passwords that tests
 * give their databases are words. */
static bool looks_random(const char *value)
{
    bool seen[128] = {false};
    size_t distinct = 0, digits = 0, letters = 0, run = 0;
    size_t n = strlen(value);
    if (n < 20)
        return false;
    for (const char *p = value; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (!isalnum(c) && !strchr("+/=_-", c))
            return false;
        distinct += !seen[c];
        seen[c] = true;
        digits += isdigit(c) != 0;
        letters += isalpha(c) != 0;
        run = islower(c) ? run + 1 : 0;
        if (run >= 7)
            return false;
    }
    return distinct >= 10 && digits >= 3 && letters >= 3;
}

static bool is_written(const struct kage_spec_env *e, struct kage_diags *diags)
{
    size_t n = strlen(e->value), there = 0;
    struct kage_span at = {e->loc, (int)n + 1};
    const char *text = kage_diags_text(diags, &at, &there);
    size_t quote = text && there > n && strchr("\"'", *text) ? 1 : 0;
    return text && there >= n + quote && memcmp(text + quote, e->value, n) == 0;
}

/* `job` is what a command inherits, and was judged already; both are sorted. */
static void check_env(const struct kage_spec_envs *env, const struct kage_spec_envs *job,
                      struct kage_diags *diags)
{
    if (job && env->items == job->items)
        return;
    for (size_t i = 0, k = 0; i < env->n; i++) {
        const struct kage_spec_env *e = &env->items[i];
        while (job && k < job->n && strcmp(job->items[k].name, e->name) < 0)
            k++;
        if (job && k < job->n && job->items[k].value == e->value)
            continue;
        struct kage_span at = {e->loc, KAGE_SPAN_WORD};
        if (!e->value ||
            !(is_known_token(e->value) || (sounds_secret(e->name) && looks_random(e->value))))
            continue;
        /* what comes out of a variable is not in the file */
        if (!strchr(e->value, '\n') && !is_written(e, diags))
            continue;
        struct kage_finding *f = kage_diags_add(diags, K404_SECRET_IN_ENV, at,
                                                "the value of '%s' looks like a secret", e->name);
        kage_finding_help(f, "read it on the host: host-env: [%s] and \"${%s}\"", e->name, e->name);
    }
}

static bool runs_as_root(const struct kage_spec_command *c)
{
    return !c->user || strcmp(c->user, "root") == 0;
}

/* Scripts become other users in ways of their own: su, chown, a server's option. */
static bool is_mentioned(const struct kage_draft *draft, const char *user)
{
    for (size_t i = 0; i < draft->n_commands; i++) {
        const struct kage_spec_command *c = &draft->commands[i].command;
        if (c->run && strstr(c->run, user))
            return true;
        for (size_t k = 0; k < c->n_argv; k++)
            if (c->argv[k] && strstr(c->argv[k], user))
                return true;
    }
    return false;
}

static void check_users(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_commands; i++)
        if (!runs_as_root(&draft->commands[i].command))
            return;
    for (size_t i = 0; i < draft->n_users && i < KAGE_CHECK_CANDIDATES; i++)
        if (is_mentioned(draft, draft->users[i].user.name))
            return;
    if (!draft->n_users || !draft->n_commands)
        return;
    const struct kage_draft_user *d = &draft->users[0];
    if (!d->user.uid || !kage_forms[KAGE_FORM_USER].match(d->user.name))
        return; /* there is another finding about it */
    const char *name = kage_diags_show(diags, d->user.name, strlen(d->user.name));
    struct kage_finding *f = kage_diags_add(diags, K407_ALL_ROOT, d->at,
                                            "everything runs as root, and nothing as '%s'", name);
    kage_finding_help(f, "write defaults: {user: %s}", name);
}

static bool sets(const struct kage_spec_envs *env, const char *name)
{
    for (size_t i = 0; i < env->n; i++)
        if (strcmp(env->items[i].name, name) == 0)
            return true;
    return false;
}

static void check_time(const struct kage_draft *draft, struct kage_diags *diags)
{
    bool zone = draft->n_commands > 0;
    for (size_t i = 0; i < draft->n_commands; i++)
        zone &= sets(&draft->commands[i].command.env, "TZ");
    if ((zone && draft->spec.machine.clock) || !draft->commands_at.loc.line)
        return;
    bool clock = draft->spec.machine.clock;
    struct kage_finding *f = kage_diags_add(diags, K409_NOT_PINNED, draft->commands_at, "%s pinned",
                                            zone    ? "the clock is not"
                                            : clock ? "the time zone is not"
                                                    : "neither the clock nor the time zone is");
    kage_finding_help(f, "%s%s%s", clock ? "" : "machine: {clock: TIME}",
                      clock || zone ? "" : " and ", zone ? "" : "env: {TZ: UTC}");
}

static void check_timeouts(const struct kage_draft *draft, struct kage_diags *diags)
{
    if (draft->defaults.timeout_at.loc.line)
        return;
    for (size_t i = 0; i < draft->n_commands; i++) {
        const struct kage_draft_command *d = &draft->commands[i];
        if (d->timeout_at.loc.line)
            continue;
        struct kage_finding *f = kage_diags_add(diags, K502_DEFAULT_TIMEOUT, d->at,
                                                "this command may take 10m, by default");
        kage_finding_help(f, "say how long is normal: defaults: {timeout: 2m}");
        return;
    }
}

void kage_check_safety(const struct kage_draft *draft, struct kage_diags *diags)
{
    check_env(&draft->env, NULL, diags);
    for (size_t i = 0; i < draft->n_commands; i++)
        check_env(&draft->commands[i].command.env, &draft->env, diags);
    check_users(draft, diags);
    check_time(draft, diags);
    check_timeouts(draft, diags);
}
