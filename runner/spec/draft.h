#pragma once

#include "runner/diag/diag.h"
#include "runner/spec/spec.h"

/*
 * A spec while it is read: the public struct, and beside it what only reading and checking need:
 * where a value was written (a span with line 0: it was not), and what has yet to be combined with
 * the defaults. Lists grow here and are handed to the public struct at the end.
 */
struct kage_draft_share {
    struct kage_spec_share share;
    struct kage_span at, path_at, writable_at;
    const char *written; /* the path before it was made absolute */
};

struct kage_draft_mount {
    struct kage_spec_mount mount;
    struct kage_span at, type_at, source_at, target_at, writable_at;
};

struct kage_draft_user {
    struct kage_spec_user user;
    struct kage_span at, uid_at, gid_at;
};

struct kage_draft_secret {
    struct kage_spec_secret secret;
    struct kage_span at, env_at, file_at;
};

/* A name in a list of names. */
struct kage_draft_name {
    char *name;
    struct kage_span at;
};

struct kage_draft_command {
    struct kage_spec_command command;
    struct kage_span at, id_at, user_at, timeout_at, network_at, sandbox_at, what_at;
    struct kage_span retries_at, background_at, ready_at, pty_at, checkpoint_at, inputs_at;
    struct kage_draft_name *secrets;
    size_t n_secrets;
    struct kage_draft_name *inputs; /* as written */
    size_t n_inputs;
};

struct kage_draft_artifact {
    struct kage_spec_artifact artifact;
    struct kage_span at, path_at, to_at;
};

struct kage_draft_defaults {
    struct kage_loc loc;
    char *user, *cwd, *shell;
    struct kage_span user_at;
    uint64_t timeout_ms;
    struct kage_span timeout_at;
    struct kage_loc timeout_loc;
    enum kage_sandbox sandbox;
};

struct kage_draft {
    struct kage_spec spec;
    struct kage_span timeout_at, image_at, commands_at;
    char **host_env;
    size_t n_host_env;
    struct kage_draft_share *shares;
    size_t n_shares;
    struct kage_draft_mount *mounts;
    size_t n_mounts;
    struct kage_draft_user *users;
    size_t n_users;
    struct kage_spec_envs env;
    struct kage_draft_defaults defaults;
    struct kage_draft_secret *secrets;
    size_t n_secrets;
    struct kage_draft_command *commands;
    size_t n_commands;
    struct kage_draft_artifact *artifacts;
    size_t n_artifacts;
    /* A map or list that could not be read whole: what is missing from it may only seem to be. */
    bool shares_broken, users_broken, secrets_broken;
};
