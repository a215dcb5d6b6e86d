#include "runner/spec/fields.h"

#include <string.h>

#include "runner/spec/draft.h"

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define AT(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)
#define MANY(type, member, n)                                                                      \
    .offset = offsetof(type, member), .size = sizeof(*((type *)NULL)->member),                     \
    .count = offsetof(type, n)
#define LOC(type, member) .loc = offsetof(type, member) + 1
#define SPAN(type, member) .at = offsetof(type, member) + 1
/* the limits have no struct with a name of their own */
#define IN_LIMITS(member)                                                                          \
    .offset = offsetof(struct kage_spec, limits.member) - offsetof(struct kage_spec, limits),      \
    .size = sizeof(((struct kage_spec *)NULL)->limits.member)

#define DRAFT struct kage_draft
#define IMAGE struct kage_spec_image
#define MACHINE struct kage_spec_machine
#define NETWORK struct kage_spec_network
#define SHARE struct kage_draft_share
#define MOUNT struct kage_draft_mount
#define USER struct kage_draft_user
#define DEFAULTS struct kage_draft_defaults
#define COMMAND struct kage_draft_command
#define SECRET struct kage_draft_secret
#define READY struct kage_spec_ready
#define ARTIFACT struct kage_draft_artifact

static const struct kage_word arch_words[] = {
    {"x86_64", KAGE_ARCH_X86_64}, {"aarch64", KAGE_ARCH_AARCH64}, {NULL, 0}};
static const struct kage_word accel_words[] = {{"auto", KAGE_ACCEL_AUTO},
                                               {"kvm", KAGE_ACCEL_KVM},
                                               {"hvf", KAGE_ACCEL_HVF},
                                               {"tcg", KAGE_ACCEL_TCG},
                                               {NULL, 0}};
static const struct kage_word own_kernel_words[] = {
    {"stock", KAGE_OWN_KERNEL_STOCK}, {"lean", KAGE_OWN_KERNEL_LEAN}, {NULL, 0}};
static const struct kage_word switch_words[] = {
    {"off", false}, {"on", true}, {"false", false}, {"true", true}, {NULL, 0}};
static const struct kage_word mount_words[] = {
    {"share", KAGE_MOUNT_SHARE}, {"tmpfs", KAGE_MOUNT_TMPFS}, {"disk", KAGE_MOUNT_DISK}, {NULL, 0}};
static const struct kage_word when_words[] = {{"on-success", KAGE_WHEN_ON_SUCCESS},
                                              {"on-failure", KAGE_WHEN_ON_FAILURE},
                                              {"always", KAGE_WHEN_ALWAYS},
                                              {NULL, 0}};
static const struct kage_word sandbox_words[] = {{"default", KAGE_SANDBOX_DEFAULT},
                                                 {"strict", KAGE_SANDBOX_STRICT},
                                                 {"none", KAGE_SANDBOX_NONE},
                                                 {NULL, 0}};

enum { F_STORE = 1, F_URL = 2, F_PATH = 4, F_KERNEL = 8 };
static const struct kage_object_form image_forms[] = {
    {F_STORE, "name", NULL, NULL},    {F_URL, "url", NULL, NULL}, {F_PATH, "path", NULL, NULL},
    {F_KERNEL, "kernel", NULL, NULL}, {0, NULL, NULL, NULL},
};

enum { F_SHARE = 1, F_TMPFS = 2, F_DISK = 4 };
static const struct kage_object_form mount_forms[] = {
    {F_SHARE, NULL, "share", "source"},
    {F_TMPFS, NULL, "tmpfs", NULL},
    {F_DISK, NULL, "disk", NULL},
    {0, NULL, NULL, NULL},
};

enum { F_RUN = 1, F_EXEC = 2 };
static const struct kage_object_form command_forms[] = {
    {F_RUN, "run", NULL, NULL},
    {F_EXEC, "exec", NULL, NULL},
    {0, NULL, NULL, NULL},
};

enum { F_ENV = 1, F_FILE = 2 };
static const struct kage_object_form secret_forms[] = {
    {F_ENV, "env", NULL, NULL},
    {F_FILE, "file", NULL, NULL},
    {0, NULL, NULL, NULL},
};

enum { F_TCP = 1, F_PROBE = 2, F_LOG = 4, F_APPEARS = 8 };
static const struct kage_object_form ready_forms[] = {
    {F_TCP, "tcp", NULL, NULL},      {F_PROBE, "exec", NULL, NULL}, {F_LOG, "log", NULL, NULL},
    {F_APPEARS, "file", NULL, NULL}, {0, NULL, NULL, NULL},
};

const struct kage_object kage_objects[KAGE_OBJECT_COUNT] = {
    [KAGE_OBJECT_JOB] = {.name = "job",
                         .doc = "One job: a machine and the commands it runs.",
                         .size = sizeof(DRAFT),
                         LOC(DRAFT, spec.loc)},
    [KAGE_OBJECT_IMAGE] = {.name = "image",
                           .doc = "What the machine boots.",
                           .size = sizeof(IMAGE),
                           LOC(IMAGE, loc),
                           .scalar = "name",
                           .scalar_only = true,
                           .forms = image_forms},
    [KAGE_OBJECT_MACHINE] = {.name = "machine",
                             .doc = "The virtual hardware.",
                             .size = sizeof(MACHINE),
                             LOC(MACHINE, loc)},
    [KAGE_OBJECT_NETWORK] = {.name = "network",
                             .doc = "What the machine can reach, and who can reach it.",
                             .size = sizeof(NETWORK),
                             LOC(NETWORK, loc),
                             .scalar = "outbound"},
    [KAGE_OBJECT_SHARE] = {.name = "share",
                           .doc = "A folder of the host that mounts can show.",
                           .size = sizeof(SHARE),
                           LOC(SHARE, share.loc),
                           SPAN(SHARE, at),
                           .has_key = true,
                           .key = offsetof(SHARE, share.name)},
    [KAGE_OBJECT_MOUNT] = {.name = "mount",
                           .doc = "A file system at a place in the guest.",
                           .size = sizeof(MOUNT),
                           LOC(MOUNT, mount.loc),
                           SPAN(MOUNT, at),
                           .discriminator = "type",
                           .forms = mount_forms},
    [KAGE_OBJECT_USER] = {.name = "user",
                          .doc = "A user of the guest, made before the first command.",
                          .size = sizeof(USER),
                          LOC(USER, user.loc),
                          SPAN(USER, at),
                          .has_key = true,
                          .key = offsetof(USER, user.name)},
    [KAGE_OBJECT_SECRET] = {.name = "secret",
                            .doc = "Where a secret comes from.",
                            .size = sizeof(SECRET),
                            LOC(SECRET, secret.loc),
                            SPAN(SECRET, at),
                            .has_key = true,
                            .key = offsetof(SECRET, secret.name),
                            .forms = secret_forms},
    [KAGE_OBJECT_DEFAULTS] = {.name = "defaults",
                              .doc = "What commands use that do not say otherwise.",
                              .size = sizeof(DEFAULTS),
                              LOC(DEFAULTS, loc)},
    [KAGE_OBJECT_COMMAND] = {.name = "command",
                             .doc = "One command: a script or a program.",
                             .size = sizeof(COMMAND),
                             LOC(COMMAND, command.loc),
                             SPAN(COMMAND, at),
                             .forms = command_forms},
    [KAGE_OBJECT_EXPECT] = {.name = "expect",
                            .doc = "What counts as success.",
                            .size = sizeof(COMMAND)},
    [KAGE_OBJECT_READY] = {.name = "ready",
                           .doc = "How a background command shows that it can be used.",
                           .size = sizeof(READY),
                           LOC(READY, loc),
                           .forms = ready_forms},
    [KAGE_OBJECT_ARTIFACT] = {.name = "artifact",
                              .doc = "A file or folder copied out of the guest.",
                              .size = sizeof(ARTIFACT),
                              LOC(ARTIFACT, artifact.loc),
                              SPAN(ARTIFACT, at)},
    [KAGE_OBJECT_LIMITS] = {.name = "limits",
                            .doc = "Bounds on what commands use.",
                            .size = sizeof(((DRAFT *)NULL)->spec.limits),
                            .loc = 1},
};

/* Durations have no default row where `defaults` or a constant of resolve.c supplies it: a command
 * must still be able to tell "10m, written" from "10m, by default". */
static const struct kage_field fields[] = {
    {KAGE_OBJECT_JOB, "version", KAGE_FIELD_VERSION, .required = true,
     .doc = "Version of the spec language: 1."},
    {KAGE_OBJECT_JOB, "name", KAGE_FIELD_STRING, .form = KAGE_FORM_NAME, AT(DRAFT, spec.name),
     LOC(DRAFT, spec.name_loc),
     .doc =
         "Name of the job in output and reports; the file's name without its ending by default."},
    {KAGE_OBJECT_JOB, "image", KAGE_FIELD_OBJECT, .object = KAGE_OBJECT_IMAGE, .required = true,
     AT(DRAFT, spec.image), SPAN(DRAFT, image_at),
     .doc = "What the machine boots: the name of an image in the store, or one of {url, digest}, "
            "{path, digest}, {kernel, initrd, rootfs, cmdline}."},
    {KAGE_OBJECT_JOB, "machine", KAGE_FIELD_OBJECT, .object = KAGE_OBJECT_MACHINE,
     AT(DRAFT, spec.machine), .doc = "The virtual hardware."},
    {KAGE_OBJECT_JOB, "network", KAGE_FIELD_OBJECT, .object = KAGE_OBJECT_NETWORK,
     AT(DRAFT, spec.network), .fallback = "off",
     .doc = "on, off, or {outbound, forward}. Off means that the guest reaches nothing at all."},
    {KAGE_OBJECT_JOB, "host-env", KAGE_FIELD_STRING, KAGE_SHAPE_LIST, .form = KAGE_FORM_VARIABLE,
     MANY(DRAFT, host_env, n_host_env), .raw = true,
     .doc = "Environment variables of the host that ${...} may read."},
    {KAGE_OBJECT_JOB, "shares", KAGE_FIELD_OBJECT, KAGE_SHAPE_MAP, .object = KAGE_OBJECT_SHARE,
     .key_form = KAGE_FORM_LABEL, MANY(DRAFT, shares, n_shares),
     .doc = "Folders of the host, by name, that mounts can show."},
    {KAGE_OBJECT_JOB, "mounts", KAGE_FIELD_OBJECT, KAGE_SHAPE_LIST, .object = KAGE_OBJECT_MOUNT,
     MANY(DRAFT, mounts, n_mounts), .doc = "File systems, mounted in this order."},
    {KAGE_OBJECT_JOB, "users", KAGE_FIELD_OBJECT, KAGE_SHAPE_MAP, .object = KAGE_OBJECT_USER,
     .key_form = KAGE_FORM_USER, MANY(DRAFT, users, n_users),
     .doc = "Users of the guest, by name; root is always there."},
    {KAGE_OBJECT_JOB, "secrets", KAGE_FIELD_OBJECT, KAGE_SHAPE_MAP, .object = KAGE_OBJECT_SECRET,
     .key_form = KAGE_FORM_VARIABLE, MANY(DRAFT, secrets, n_secrets),
     .doc = "Values given, as environment variables, only to the commands that list them."},
    {KAGE_OBJECT_JOB, "env", KAGE_FIELD_SCALAR, KAGE_SHAPE_MAP, .key_form = KAGE_FORM_VARIABLE,
     MANY(DRAFT, env.items, env.n), .doc = "Environment of every command."},
    {KAGE_OBJECT_JOB, "defaults", KAGE_FIELD_OBJECT, .object = KAGE_OBJECT_DEFAULTS,
     AT(DRAFT, defaults), .doc = "What commands use that do not say otherwise."},
    {KAGE_OBJECT_JOB, "matrix", KAGE_FIELD_MATRIX, .key_form = KAGE_FORM_VARIABLE,
     .doc = "Axes, each a list of values: every combination is a job of its own, but for those in "
            "'exclude'. ${matrix.AXIS} is the job's value."},
    {KAGE_OBJECT_JOB, "commands", KAGE_FIELD_OBJECT, KAGE_SHAPE_LIST, .object = KAGE_OBJECT_COMMAND,
     .required = true, .one_inside = true, MANY(DRAFT, commands, n_commands),
     SPAN(DRAFT, commands_at), .doc = "What to run, in this order."},
    {KAGE_OBJECT_JOB, "artifacts", KAGE_FIELD_OBJECT, KAGE_SHAPE_LIST,
     .object = KAGE_OBJECT_ARTIFACT, MANY(DRAFT, artifacts, n_artifacts),
     .doc = "Files and folders copied out of the guest after the commands."},
    {KAGE_OBJECT_JOB, "timeout", KAGE_FIELD_DURATION, .fallback = "1h", AT(DRAFT, spec.timeout_ms),
     LOC(DRAFT, spec.timeout_loc), SPAN(DRAFT, timeout_at), .doc = "Time the whole job may take."},
    {KAGE_OBJECT_JOB, "limits", KAGE_FIELD_OBJECT, .object = KAGE_OBJECT_LIMITS,
     AT(DRAFT, spec.limits), .doc = "Bounds on what commands use."},

    {KAGE_OBJECT_IMAGE, "name", KAGE_FIELD_STRING, .form = KAGE_FORM_LABEL, .forms = F_STORE,
     AT(IMAGE, name), .doc = "Name of an image in the store."},
    {KAGE_OBJECT_IMAGE, "url", KAGE_FIELD_STRING, .form = KAGE_FORM_URL, .forms = F_URL,
     AT(IMAGE, url), .doc = "Where to download the image from."},
    {KAGE_OBJECT_IMAGE, "path", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT, .forms = F_PATH,
     AT(IMAGE, path), .doc = "An image file, relative to the spec's folder."},
    {KAGE_OBJECT_IMAGE, "digest", KAGE_FIELD_STRING, .form = KAGE_FORM_DIGEST,
     .forms = F_URL | F_PATH, AT(IMAGE, digest), .doc = "sha256: and 64 hex digits."},
    {KAGE_OBJECT_IMAGE, "kernel", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT, .forms = F_KERNEL,
     AT(IMAGE, kernel), .doc = "A kernel of one's own, relative to the spec's folder."},
    {KAGE_OBJECT_IMAGE, "initrd", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT, .forms = F_KERNEL,
     AT(IMAGE, initrd), .doc = "The initramfs that goes with it."},
    {KAGE_OBJECT_IMAGE, "rootfs", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT, .forms = F_KERNEL,
     AT(IMAGE, rootfs), .doc = "A root file system that goes with it."},
    {KAGE_OBJECT_IMAGE, "cmdline", KAGE_FIELD_STRING, .form = KAGE_FORM_LINE, .forms = F_KERNEL,
     AT(IMAGE, cmdline), .doc = "Words added to the kernel's command line."},

    {KAGE_OBJECT_MACHINE, "arch", KAGE_FIELD_WORD, .words = arch_words, AT(MACHINE, arch),
     LOC(MACHINE, arch_loc), .doc = "Processor architecture; the host's by default."},
    {KAGE_OBJECT_MACHINE, "cpus", KAGE_FIELD_INT, .min = 1, .max = 64, .fallback = "1",
     AT(MACHINE, cpus), LOC(MACHINE, cpus_loc), .doc = "Number of processors."},
    {KAGE_OBJECT_MACHINE, "memory", KAGE_FIELD_SIZE, .min = 128 * MIB, .max = 1024 * GIB,
     .fallback = "512MiB", AT(MACHINE, memory), LOC(MACHINE, memory_loc), .doc = "Memory."},
    {KAGE_OBJECT_MACHINE, "disk", KAGE_FIELD_SIZE, .min = 16 * MIB, .max = 16 * 1024 * GIB,
     AT(MACHINE, disk), LOC(MACHINE, disk_loc),
     .doc = "An empty disk for a mount of type disk; all else that is written stays in memory."},
    {KAGE_OBJECT_MACHINE, "accel", KAGE_FIELD_WORD, .words = accel_words, .fallback = "auto",
     AT(MACHINE, accel), LOC(MACHINE, accel_loc),
     .doc = "How the processor is virtualised; auto takes the fastest that works here."},
    {KAGE_OBJECT_MACHINE, "clock", KAGE_FIELD_STRING, .form = KAGE_FORM_CLOCK, .fallback = "host",
     AT(MACHINE, clock), LOC(MACHINE, clock_loc),
     .doc = "host, or the time the guest starts at, as RFC 3339 writes it."},
    {KAGE_OBJECT_MACHINE, "kernel", KAGE_FIELD_WORD, .words = own_kernel_words, AT(MACHINE, kernel),
     LOC(MACHINE, kernel_loc),
     .doc = "Which of kage's kernels boots the image: stock, the distribution's, or lean, which "
            "kage builds itself; the one the image was built for by default."},

    {KAGE_OBJECT_NETWORK, "outbound", KAGE_FIELD_WORD, .words = switch_words, .fallback = "off",
     AT(NETWORK, outbound), .doc = "Whether the guest reaches other machines."},
    {KAGE_OBJECT_NETWORK, "forward", KAGE_FIELD_FORWARD, KAGE_SHAPE_LIST,
     MANY(NETWORK, forwards, n_forwards),
     .doc = "Ports of the host that lead to the guest: [ADDR:]HOST:GUEST[/udp], on 127.0.0.1 "
            "unless ADDR says otherwise."},

    {KAGE_OBJECT_SHARE, "path", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT, .required = true,
     AT(SHARE, share.path), LOC(SHARE, share.path_loc), SPAN(SHARE, path_at),
     .doc = "A folder of the host, relative to the spec's."},
    {KAGE_OBJECT_SHARE, "writable", KAGE_FIELD_BOOL, .fallback = "false", AT(SHARE, share.writable),
     SPAN(SHARE, writable_at), .doc = "Whether the guest may change what is in it."},

    {KAGE_OBJECT_MOUNT, "type", KAGE_FIELD_WORD, .words = mount_words, .required = true,
     AT(MOUNT, mount.type), SPAN(MOUNT, type_at), .doc = "share, tmpfs or disk."},
    {KAGE_OBJECT_MOUNT, "source", KAGE_FIELD_STRING, .form = KAGE_FORM_LABEL, .forms = F_SHARE,
     AT(MOUNT, mount.source), SPAN(MOUNT, source_at), .doc = "Name of the share."},
    {KAGE_OBJECT_MOUNT, "target", KAGE_FIELD_STRING, .form = KAGE_FORM_TARGET, .required = true,
     AT(MOUNT, mount.target), SPAN(MOUNT, target_at),
     .doc = "Where in the guest: an absolute path without '.', '..' or '//'."},
    {KAGE_OBJECT_MOUNT, "size", KAGE_FIELD_SIZE, .forms = F_TMPFS, .min = 4 * KIB,
     .max = 1024 * GIB, AT(MOUNT, mount.size),
     .doc = "The most a tmpfs can hold; half of the memory by default."},
    {KAGE_OBJECT_MOUNT, "writable", KAGE_FIELD_BOOL, .forms = F_SHARE, AT(MOUNT, mount.writable),
     SPAN(MOUNT, writable_at), .doc = "false makes a writable share read-only at this place."},

    {KAGE_OBJECT_USER, "uid", KAGE_FIELD_INT, .min = 1, .max = 65533, .required = true,
     AT(USER, user.uid), SPAN(USER, uid_at), .doc = "Number of the user."},
    {KAGE_OBJECT_USER, "gid", KAGE_FIELD_INT, .min = 1, .max = 65533, AT(USER, user.gid),
     SPAN(USER, gid_at), .doc = "Number of its group; the uid by default."},
    {KAGE_OBJECT_USER, "groups", KAGE_FIELD_INT, KAGE_SHAPE_LIST, .min = 1, .max = 65533,
     MANY(USER, user.groups, user.n_groups), .doc = "Numbers of further groups."},
    {KAGE_OBJECT_USER, "home", KAGE_FIELD_STRING, .form = KAGE_FORM_ABSOLUTE, AT(USER, user.home),
     .doc = "Home folder; /home/NAME by default."},
    {KAGE_OBJECT_USER, "shell", KAGE_FIELD_STRING, .form = KAGE_FORM_ABSOLUTE, AT(USER, user.shell),
     .doc = "Login shell; /bin/sh by default."},

    {KAGE_OBJECT_SECRET, "env", KAGE_FIELD_STRING, .form = KAGE_FORM_VARIABLE, .forms = F_ENV,
     .raw = true, AT(SECRET, secret.env), SPAN(SECRET, env_at),
     .doc = "A variable of the host that holds it."},
    {KAGE_OBJECT_SECRET, "file", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT, .forms = F_FILE,
     AT(SECRET, secret.file), SPAN(SECRET, file_at),
     .doc = "A file of the host that holds it, relative to the spec's folder; one line feed at its "
            "end is left out."},

    {KAGE_OBJECT_DEFAULTS, "user", KAGE_FIELD_STRING, .form = KAGE_FORM_USER, AT(DEFAULTS, user),
     SPAN(DEFAULTS, user_at), .fallback = "root", .doc = "Who runs commands."},
    {KAGE_OBJECT_DEFAULTS, "cwd", KAGE_FIELD_STRING, .form = KAGE_FORM_ABSOLUTE, AT(DEFAULTS, cwd),
     .fallback = "/", .doc = "The folder commands start in."},
    {KAGE_OBJECT_DEFAULTS, "shell", KAGE_FIELD_STRING, .form = KAGE_FORM_SHELL, AT(DEFAULTS, shell),
     .fallback = "sh", .doc = "What runs scripts: sh, bash, or an absolute path."},
    {KAGE_OBJECT_DEFAULTS, "timeout", KAGE_FIELD_DURATION, AT(DEFAULTS, timeout_ms),
     LOC(DEFAULTS, timeout_loc), SPAN(DEFAULTS, timeout_at), .fallback = "10m",
     .doc = "Time one command may take."},
    {KAGE_OBJECT_DEFAULTS, "sandbox", KAGE_FIELD_WORD, .words = sandbox_words,
     AT(DEFAULTS, sandbox), .fallback = "default", .doc = "How much commands are confined."},

    {KAGE_OBJECT_COMMAND, "id", KAGE_FIELD_STRING, .form = KAGE_FORM_LABEL, .raw = true,
     AT(COMMAND, command.id), SPAN(COMMAND, id_at), .doc = "A name for reports, once per job."},
    {KAGE_OBJECT_COMMAND, "name", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT,
     AT(COMMAND, command.name), .doc = "What the command is called in output."},
    {KAGE_OBJECT_COMMAND, "run", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT, .raw = true,
     .forms = F_RUN, AT(COMMAND, command.run), LOC(COMMAND, command.what_loc),
     SPAN(COMMAND, what_at), .doc = "A script for the shell; ${...} is the shell's."},
    {KAGE_OBJECT_COMMAND, "exec", KAGE_FIELD_SCALAR, KAGE_SHAPE_LIST, .one_inside = true,
     .forms = F_EXEC, MANY(COMMAND, command.argv, command.n_argv), LOC(COMMAND, command.what_loc),
     SPAN(COMMAND, what_at), .doc = "A program and its arguments; no shell is involved."},
    {KAGE_OBJECT_COMMAND, "user", KAGE_FIELD_STRING, .form = KAGE_FORM_USER,
     AT(COMMAND, command.user), SPAN(COMMAND, user_at), .doc = "Who runs it."},
    {KAGE_OBJECT_COMMAND, "cwd", KAGE_FIELD_STRING, .form = KAGE_FORM_ABSOLUTE,
     AT(COMMAND, command.cwd), .doc = "The folder it starts in."},
    {KAGE_OBJECT_COMMAND, "env", KAGE_FIELD_SCALAR, KAGE_SHAPE_MAP, .key_form = KAGE_FORM_VARIABLE,
     MANY(COMMAND, command.env.items, command.env.n),
     .doc = "Its environment, on top of the job's."},
    {KAGE_OBJECT_COMMAND, "secrets", KAGE_FIELD_STRING, KAGE_SHAPE_LIST, .form = KAGE_FORM_VARIABLE,
     .raw = true, MANY(COMMAND, secrets, n_secrets),
     .item_at = offsetof(struct kage_draft_name, at) + 1,
     .doc = "Secrets that are put into its environment."},
    {KAGE_OBJECT_COMMAND, "shell", KAGE_FIELD_STRING, .form = KAGE_FORM_SHELL,
     AT(COMMAND, command.shell), .doc = "What runs the script: sh, bash, or an absolute path."},
    {KAGE_OBJECT_COMMAND, "timeout", KAGE_FIELD_DURATION, AT(COMMAND, command.timeout_ms),
     LOC(COMMAND, command.timeout_loc), SPAN(COMMAND, timeout_at), .doc = "Time it may take."},
    {KAGE_OBJECT_COMMAND, "retries", KAGE_FIELD_INT, .min = 0, .max = 10, .fallback = "0",
     AT(COMMAND, command.retries), SPAN(COMMAND, retries_at),
     .doc = "How often it is tried again when it fails."},
    {KAGE_OBJECT_COMMAND, "expect", KAGE_FIELD_OBJECT, .object = KAGE_OBJECT_EXPECT, .offset = 0,
     .size = sizeof(COMMAND), .doc = "What counts as success."},
    {KAGE_OBJECT_COMMAND, "when", KAGE_FIELD_WORD, .words = when_words, .fallback = "on-success",
     AT(COMMAND, command.when), .doc = "After what it runs: on-success, on-failure or always."},
    {KAGE_OBJECT_COMMAND, "continue-on-error", KAGE_FIELD_BOOL, .fallback = "false",
     AT(COMMAND, command.continue_on_error),
     .doc = "Whether the job goes on, and can still succeed, when it fails."},
    {KAGE_OBJECT_COMMAND, "background", KAGE_FIELD_BOOL, .fallback = "false",
     AT(COMMAND, command.background), SPAN(COMMAND, background_at),
     .doc = "Whether the next command starts while it runs. It is ended after the last one."},
    {KAGE_OBJECT_COMMAND, "ready", KAGE_FIELD_OBJECT, .object = KAGE_OBJECT_READY,
     AT(COMMAND, command.ready), SPAN(COMMAND, ready_at),
     .doc = "What to wait for before the next command starts: {tcp}, {exec}, {log} or {file}."},
    {KAGE_OBJECT_COMMAND, "pty", KAGE_FIELD_BOOL, .fallback = "false", AT(COMMAND, command.pty),
     SPAN(COMMAND, pty_at), .doc = "Whether it gets a terminal."},
    {KAGE_OBJECT_COMMAND, "network", KAGE_FIELD_WORD, .words = switch_words,
     AT(COMMAND, command.network), SPAN(COMMAND, network_at),
     .doc = "off takes the job's network away from it."},
    {KAGE_OBJECT_COMMAND, "sandbox", KAGE_FIELD_WORD, .words = sandbox_words,
     AT(COMMAND, command.sandbox), SPAN(COMMAND, sandbox_at),
     .doc = "How much it is confined: default, strict or none."},
    {KAGE_OBJECT_COMMAND, "checkpoint", KAGE_FIELD_BOOL, .fallback = "false",
     AT(COMMAND, command.checkpoint), SPAN(COMMAND, checkpoint_at),
     .doc = "Whether the machine is saved after it, for later runs to start there."},
    {KAGE_OBJECT_COMMAND, "inputs", KAGE_FIELD_STRING, KAGE_SHAPE_LIST, .form = KAGE_FORM_TEXT,
     MANY(COMMAND, inputs, n_inputs), SPAN(COMMAND, inputs_at),
     .item_at = offsetof(struct kage_draft_name, at) + 1,
     .doc =
         "Files and folders of the shares that it reads, relative to the spec's folder: when one "
         "changes, a checkpoint after it is made anew."},

    {KAGE_OBJECT_EXPECT, "exit", KAGE_FIELD_INT, KAGE_SHAPE_ONE_OR_LIST, .one_inside = true,
     .min = 0, .max = 255, MANY(COMMAND, command.expect, command.n_expect), .fallback = "0",
     .doc = "Exit code, or list of codes, that count as success."},

    {KAGE_OBJECT_READY, "tcp", KAGE_FIELD_INT, .forms = F_TCP, .min = 1, .max = 65535,
     AT(READY, tcp), .doc = "A port of the guest's loopback that takes connections."},
    {KAGE_OBJECT_READY, "exec", KAGE_FIELD_SCALAR, KAGE_SHAPE_LIST, .forms = F_PROBE,
     .one_inside = true, MANY(READY, exec, n_exec),
     .doc = "A program and its arguments, started until it exits with 0."},
    {KAGE_OBJECT_READY, "log", KAGE_FIELD_STRING, .form = KAGE_FORM_TEXT, .forms = F_LOG,
     AT(READY, log), .doc = "A text that the command prints."},
    {KAGE_OBJECT_READY, "file", KAGE_FIELD_STRING, .form = KAGE_FORM_ABSOLUTE, .forms = F_APPEARS,
     AT(READY, file), .doc = "A path that appears in the guest."},
    {KAGE_OBJECT_READY, "timeout", KAGE_FIELD_DURATION, .fallback = "1m", AT(READY, timeout_ms),
     LOC(READY, timeout_loc), .doc = "Time until it must be ready."},

    {KAGE_OBJECT_ARTIFACT, "path", KAGE_FIELD_STRING, .form = KAGE_FORM_TARGET, .required = true,
     AT(ARTIFACT, artifact.path), SPAN(ARTIFACT, path_at),
     .doc = "A file or folder of the guest; the last part of the path may hold * and ?."},
    {KAGE_OBJECT_ARTIFACT, "to", KAGE_FIELD_STRING, .form = KAGE_FORM_INSIDE, .required = true,
     AT(ARTIFACT, artifact.to), SPAN(ARTIFACT, to_at),
     .doc = "Where it goes, relative to the spec's folder and inside it. With '/' at the end it is "
            "a folder that things keep their names in."},
    {KAGE_OBJECT_ARTIFACT, "when", KAGE_FIELD_WORD, .words = when_words, .fallback = "always",
     AT(ARTIFACT, artifact.when),
     .doc = "After what it is copied: on-success, on-failure or always."},
    {KAGE_OBJECT_ARTIFACT, "optional", KAGE_FIELD_BOOL, .fallback = "false",
     AT(ARTIFACT, artifact.optional), .doc = "Whether it may be missing."},

    {KAGE_OBJECT_LIMITS, "output", KAGE_FIELD_SIZE, .min = 1 * KIB, .max = 1024 * GIB,
     IN_LIMITS(output), .doc = "Output of one command that is passed on."},
    {KAGE_OBJECT_LIMITS, "processes", KAGE_FIELD_INT, .min = 1, .max = 32768,
     .fallback = KAGE_DEFAULT_PROCESSES, IN_LIMITS(processes),
     .doc = "Processes of one command at a time."},
    {KAGE_OBJECT_LIMITS, "memory", KAGE_FIELD_SIZE, .min = 1 * MIB, .max = 1024 * GIB,
     IN_LIMITS(memory), .doc = "Memory of one command."},
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

const struct kage_field *kage_fields(enum kage_object_id object, size_t *n)
{
    size_t first = 0;
    while (fields[first].parent != object)
        first++;
    size_t end = first;
    while (end < N_FIELDS && fields[end].parent == object)
        end++;
    *n = end - first;
    return &fields[first];
}

const struct kage_field *kage_field_find(enum kage_object_id object, const char *name)
{
    size_t n;
    const struct kage_field *own = kage_fields(object, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(own[i].name, name) == 0)
            return &own[i];
    return NULL;
}
