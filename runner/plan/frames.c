#include <string.h>

#include "common/base/alloc.h"
#include "common/proto/message.h"
#include "runner/plan/parts.h"

/* Longest single argument Linux passes to a program: MAX_ARG_STRLEN in include/uapi/linux/
 * binfmts.h, 32 pages, the final NUL included. */
#define ARG_MAX_LEN (32u * 4096u - 1u)

static void encode_step(struct kage_plan_step *step, const struct kage_msg *msg)
{
    struct kage_buf b = {0};

    kage_msg_encode(msg, &b);
    step->payload = kage_buf_take(&b);
}

static void add_session(struct kage_plan *plan, const struct kage_spec_user *user)
{
    struct kage_plan_step *step = kage_plan_add_step(plan, KAGE_STEP_SESSION, user->loc);
    struct kage_msg msg;

    /* Borrowed from the spec, and only read: no kage_msg_done(). */
    kage_msg_init(&msg, KAGE_MSG_SESSION_CREATE);
    msg.session_create.uid = user->uid;
    msg.session_create.username = user->name;
    msg.session_create.gid = user->gid;
    msg.session_create.groups.items = user->groups;
    msg.session_create.groups.n = user->n_groups;
    msg.session_create.home = user->home;
    msg.session_create.shell = user->shell;
    encode_step(step, &msg);
}

static const struct kage_plan_share *find_share(const struct kage_plan *plan, const char *name)
{
    for (size_t i = 0; name && i < plan->n_shares; i++)
        if (strcmp(plan->shares[i].name, name) == 0)
            return &plan->shares[i];
    return NULL;
}

static int add_mount(struct kage_plan *plan, const struct kage_spec_mount *mount,
                     struct kage_error *err)
{
    const struct kage_plan_share *share = NULL;
    struct kage_plan_step *step;
    struct kage_msg msg;

    kage_msg_init(&msg, KAGE_MSG_MOUNT);
    msg.mount.mount_point = mount->target;
    switch (mount->type) {
    case KAGE_MOUNT_SHARE:
        share = find_share(plan, mount->source);
        if (!share) {
            kage_error_set(err, KAGE_CLASS_SPEC, "the mount at %s names no share of this spec",
                           mount->target);
            goto fail;
        }
        msg.mount.tag = share->tag;
        msg.mount.read_only = !(mount->writable && share->writable);
        break;
    case KAGE_MOUNT_TMPFS:
        msg.mount.fs = (char *)"tmpfs";
        if (mount->size)
            msg.mount.size = (int64_t)mount->size;
        break;
    case KAGE_MOUNT_DISK:
        if (!plan->disk) {
            kage_error_set(err, KAGE_CLASS_SPEC,
                           "the mount at %s needs a disk; give the machine one: "
                           "`machine: {disk: 4GiB}`",
                           mount->target);
            goto fail;
        }
        msg.mount.fs = (char *)"disk";
        msg.mount.tag = (char *)"scratch";
        break;
    }
    step = kage_plan_add_step(plan, KAGE_STEP_MOUNT, mount->loc);
    encode_step(step, &msg);
    return 0;
fail:
    if (err)
        err->loc = kage_plan_loc(plan, mount->loc);
    return -1;
}

/*
 * A script is handed to the shell as one argument, so it needs no file in the
 * guest. The options are those GitHub Actions documents for `shell: sh` and
 * `shell: bash`: stop at the first failing command, and for bash at a failing
 * part of a pipe too, with no start-up files that could change what runs.
 */
static const struct {
    const char *shell, *program;
    const char *args[6];
} shells[] = {
    {"sh", "/bin/sh", {"-e", "-c"}},
    {"bash", "bash", {"--noprofile", "--norc", "-eo", "pipefail", "-c"}},
};

static void shell_argv(const char *shell, const char *script, struct kage_msg *msg)
{
    const char *program = shell;
    const char *const *args = (const char *const[]){"-c", NULL};
    struct kage_str_list *list = &msg->spawn.args;

    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(shells[i].shell, shell) == 0) {
            program = shells[i].program;
            args = shells[i].args;
        }
    }
    msg->spawn.command = kage_strdup(program);
    list->items = kage_alloc(sizeof(char *) * 8);
    for (; *args; args++)
        list->items[list->n++] = kage_strdup(*args);
    list->items[list->n++] = kage_strdup(script);
}

static void exec_argv(char *const *argv, size_t n, struct kage_msg *msg)
{
    struct kage_str_list *list = &msg->spawn.args;

    msg->spawn.command = kage_strdup(argv[0]);
    list->items = kage_alloc(sizeof(char *) * (n + 1));
    for (size_t i = 1; i < n; i++)
        list->items[list->n++] = kage_strdup(argv[i]);
}

char *kage_plan_secret_entry(const char *name)
{
    return kage_asprintf("%s=%%{secret:%s}", name, name);
}

static bool lists_secret(const struct kage_spec_command *command, const char *name)
{
    for (size_t i = 0; i < command->n_secrets; i++)
        if (strcmp(command->secrets[i], name) == 0)
            return true;
    return false;
}

/* A secret takes the place of a variable of its name. */
static void fill_env(const struct kage_spec_command *command, struct kage_str_list *list)
{
    const struct kage_spec_envs *env = &command->env;

    list->items = kage_alloc(sizeof(char *) * (env->n + command->n_secrets + 1));
    for (size_t i = 0; i < env->n; i++)
        if (!lists_secret(command, env->items[i].name))
            list->items[list->n++] =
                kage_asprintf("%s=%s", env->items[i].name, env->items[i].value);
    for (size_t i = 0; i < command->n_secrets; i++)
        list->items[list->n++] = kage_plan_secret_entry(command->secrets[i]);
}

static bool has_network(const struct kage_spec *spec, const struct kage_spec_command *command)
{
    return command->network && (spec->network.outbound || spec->network.n_forwards > 0);
}

/* All but what is started. */
static void fill_spawn(const struct kage_spec *spec, const struct kage_spec_command *command,
                       uint32_t id, struct kage_msg *msg)
{
    static const char *const profiles[] = {
        [KAGE_SANDBOX_DEFAULT] = "default",
        [KAGE_SANDBOX_STRICT] = "strict",
        [KAGE_SANDBOX_NONE] = "none",
    };

    kage_msg_init(msg, KAGE_MSG_SPAWN);
    msg->id = id;
    msg->spawn.cwd = kage_strdup(command->cwd ? command->cwd : "/");
    msg->spawn.user = kage_strdup(command->user ? command->user : "root");
    msg->spawn.network = has_network(spec, command);
    msg->spawn.seccomp_profile = kage_strdup(profiles[command->sandbox]);
    fill_env(command, &msg->spawn.env);
    /* A job has no terminal and nobody to type: a command that reads gets the end of file. */
    msg->spawn.no_stdin = true;
    if (spec->limits.processes)
        msg->spawn.max_processes = spec->limits.processes;
    if (spec->limits.memory)
        msg->spawn.max_memory = (int64_t)spec->limits.memory;
}

static void encode_probe(const struct kage_spec *spec, const struct kage_spec_command *command,
                         struct kage_buf *out)
{
    struct kage_msg msg;

    /* Borrowed from the spec, and only read: no kage_msg_done(). */
    kage_msg_init(&msg, KAGE_MSG_PROBE);
    if (command->ready.kind == KAGE_READY_TCP) {
        msg.probe.port = command->ready.tcp;
        msg.probe.network = has_network(spec, command);
    } else {
        msg.probe.path = command->ready.file;
    }
    kage_msg_encode(&msg, out);
}

/* The program that finds out runs as the command does, beside it. */
static void add_ready(const struct kage_spec *spec, const struct kage_spec_command *command,
                      uint32_t id, struct kage_plan *plan, struct kage_plan_step *step)
{
    const struct kage_spec_ready *ready = &command->ready;
    struct kage_buf payload = {0};
    struct kage_msg msg;

    if (!command->background || ready->kind == KAGE_READY_NONE)
        return;
    step->ready.kind = ready->kind;
    step->ready.timeout_ms = ready->timeout_ms;
    step->ready.loc = kage_plan_loc(plan, ready->loc);
    step->ready.text = kage_strdup(ready->log);
    if (ready->kind == KAGE_READY_LOG)
        return;
    if (ready->kind == KAGE_READY_EXEC) {
        fill_spawn(spec, command, id, &msg);
        exec_argv(ready->exec, ready->n_exec, &msg);
        kage_msg_encode(&msg, &payload);
        kage_msg_done(&msg);
    } else {
        encode_probe(spec, command, &payload);
    }
    step->ready.payload = kage_buf_take(&payload);
}

static int add_inputs(const struct kage_spec_command *command, struct kage_plan *plan,
                      struct kage_plan_step *step, struct kage_error *err)
{
    step->inputs = kage_alloc((command->n_inputs + 1) * sizeof(*step->inputs));
    for (size_t i = 0; i < command->n_inputs; i++) {
        const struct kage_spec_input *input = &command->inputs[i];
        KAGE_CLEANUP(kage_freep) char *below = NULL;

        step->inputs[step->n_inputs++] = (struct kage_plan_input){
            .path = kage_strdup(input->path), .loc = kage_plan_loc(plan, input->loc)};
        if (kage_plan_share_of(plan, input->path, &below))
            continue;
        kage_error_set(err, KAGE_CLASS_SPEC, "input '%s' is in none of the shares", input->path);
        if (err)
            err->loc = kage_plan_loc(plan, input->loc);
        return -1;
    }
    return 0;
}

static int add_spawn(const struct kage_spec *spec, const struct kage_spec_command *command,
                     uint32_t id, struct kage_plan *plan, struct kage_error *err)
{
    struct kage_plan_step *step;
    struct kage_msg msg;

    if (command->run && strlen(command->run) > ARG_MAX_LEN) {
        kage_error_set(err, KAGE_CLASS_SPEC,
                       "the script of '%s' is %zu bytes long, and Linux passes at most %u to a "
                       "shell; put it into a file of a share and run that",
                       command->name, strlen(command->run), ARG_MAX_LEN);
        if (err)
            err->loc = kage_plan_loc(plan, command->what_loc);
        return -1;
    }
    fill_spawn(spec, command, id, &msg);
    if (command->run)
        shell_argv(command->shell ? command->shell : "sh", command->run, &msg);
    else
        exec_argv(command->argv, command->n_argv, &msg);
    /* Nobody types here either, but a terminal is one for all three streams. */
    msg.spawn.pty = command->pty;
    msg.spawn.no_stdin = !command->pty;
    step = kage_plan_add_step(plan, KAGE_STEP_SPAWN, command->loc);
    encode_step(step, &msg);
    kage_msg_done(&msg);
    step->id = id;
    step->name = kage_strdup(command->name);
    step->timeout_ms = command->timeout_ms;
    step->expect = kage_memdup(command->expect, command->n_expect * sizeof(*command->expect));
    step->n_expect = command->n_expect;
    step->when = command->when;
    step->continue_on_error = command->continue_on_error;
    step->retries = command->retries;
    step->background = command->background;
    step->pty = command->pty;
    step->secrets = kage_alloc((command->n_secrets + 1) * sizeof(*step->secrets));
    for (size_t i = 0; i < command->n_secrets; i++)
        step->secrets[step->n_secrets++] = kage_strdup(command->secrets[i]);
    add_ready(spec, command, (uint32_t)spec->n_commands + id, plan, step);
    step->checkpoint = command->checkpoint;
    return add_inputs(command, plan, step, err);
}

int kage_plan_frames(const struct kage_spec *spec, struct kage_plan *plan, struct kage_error *err)
{
    for (size_t i = 0; i < spec->n_users; i++)
        add_session(plan, &spec->users[i]);
    for (size_t i = 0; i < spec->n_mounts; i++)
        if (add_mount(plan, &spec->mounts[i], err) < 0)
            return -1;
    for (size_t i = 0; i < spec->n_commands; i++)
        if (add_spawn(spec, &spec->commands[i], (uint32_t)(i + 1), plan, err) < 0)
            return -1;
    return 0;
}
