#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

/* Processes of a command where the spec gives no limit. */
#define KAGE_DEFAULT_PROCESSES "512"

struct kage_arena;
struct kage_buf;
struct kage_diags;

/*
 * A spec after parsing: typed, defaults filled in, every node with the place it
 * came from. All strings are owned by the spec. Where a value was not written,
 * `loc` is that of the closest node that was (the job itself at worst), so every
 * argument and frame of a plan can cite a line.
 */
struct kage_spec_str {
    char *value;
    struct kage_loc loc;
};

enum kage_arch { KAGE_ARCH_HOST, KAGE_ARCH_X86_64, KAGE_ARCH_AARCH64, KAGE_ARCH_COUNT };
enum kage_accel {
    KAGE_ACCEL_AUTO,
    KAGE_ACCEL_KVM,
    KAGE_ACCEL_HVF,
    KAGE_ACCEL_TCG,
    KAGE_ACCEL_COUNT
};
enum kage_image_form {
    KAGE_IMAGE_STORE,  /* a name in the image store: name */
    KAGE_IMAGE_URL,    /* url, digest */
    KAGE_IMAGE_PATH,   /* path, digest */
    KAGE_IMAGE_KERNEL, /* kernel, initrd, rootfs, cmdline */
};
/* Which of kage's own kernels boots an image that brings none. */
enum kage_own_kernel {
    KAGE_OWN_KERNEL_ANY, /* the one the image was built for */
    KAGE_OWN_KERNEL_STOCK,
    KAGE_OWN_KERNEL_LEAN,
    KAGE_OWN_KERNEL_COUNT
};
enum kage_mount_type { KAGE_MOUNT_SHARE, KAGE_MOUNT_TMPFS, KAGE_MOUNT_DISK };
enum kage_when { KAGE_WHEN_ON_SUCCESS, KAGE_WHEN_ON_FAILURE, KAGE_WHEN_ALWAYS };
enum kage_sandbox { KAGE_SANDBOX_DEFAULT, KAGE_SANDBOX_STRICT, KAGE_SANDBOX_NONE };

struct kage_spec_image {
    enum kage_image_form form;
    struct kage_loc loc;
    char *name, *url, *digest;
    char *path, *kernel, *initrd, *rootfs; /* absolute: resolved against the spec's folder */
    char *cmdline;
    enum kage_own_kernel own_kernel; /* in a plan only: the machine's, see below */
};

struct kage_spec_machine {
    struct kage_loc loc;
    enum kage_arch arch;
    struct kage_loc arch_loc;
    unsigned cpus;
    struct kage_loc cpus_loc;
    uint64_t memory; /* bytes */
    struct kage_loc memory_loc;
    uint64_t disk; /* bytes, 0 for none */
    struct kage_loc disk_loc;
    enum kage_accel accel;
    struct kage_loc accel_loc;
    char *clock; /* NULL for the host's, else RFC 3339 */
    struct kage_loc clock_loc;
    enum kage_own_kernel kernel;
    struct kage_loc kernel_loc;
};

struct kage_spec_forward {
    struct kage_loc loc;
    char *address; /* numeric host address */
    uint16_t host_port, guest_port;
    bool udp;
};

struct kage_spec_network {
    struct kage_loc loc;
    bool outbound;
    struct kage_spec_forward *forwards;
    size_t n_forwards;
};

struct kage_spec_share {
    struct kage_loc loc;
    char *name;
    char *path; /* absolute, not resolved through symlinks */
    struct kage_loc path_loc;
    bool writable;
};

struct kage_spec_mount {
    struct kage_loc loc;
    enum kage_mount_type type;
    char *source; /* share name, NULL unless type is share */
    char *target;
    uint64_t size; /* tmpfs: bytes, 0 for the kernel's default */
    bool writable; /* share: the share's own setting unless the mount says less */
};

struct kage_spec_user {
    struct kage_loc loc;
    char *name;
    uint32_t uid, gid;
    uint32_t *groups;
    size_t n_groups;
    char *home, *shell; /* NULL: the guest's defaults */
};

struct kage_spec_env {
    struct kage_loc loc;
    char *name, *value;
};

struct kage_spec_envs {
    struct kage_spec_env *items;
    size_t n;
};

/* A value that only the commands that list it are given. It is read when they run. */
struct kage_spec_secret {
    struct kage_loc loc;
    char *name;
    char *env;  /* a variable of the host, or */
    char *file; /* a file of the host, absolute */
};

/* How a background command shows that the next one can start. */
enum kage_ready {
    KAGE_READY_NONE, /* as soon as it runs */
    KAGE_READY_TCP,
    KAGE_READY_EXEC,
    KAGE_READY_LOG,
    KAGE_READY_FILE,
    KAGE_READY_COUNT,
};

struct kage_spec_ready {
    struct kage_loc loc;
    enum kage_ready kind;
    uint16_t tcp; /* a port on the guest's loopback */
    char **exec;  /* a program and its arguments, to be started until it exits with 0 */
    size_t n_exec;
    char *log;  /* a text that the command prints */
    char *file; /* a path that appears in the guest */
    uint64_t timeout_ms;
    struct kage_loc timeout_loc; /* loc when it is not written */
};

struct kage_spec_artifact {
    struct kage_loc loc;
    char *path; /* in the guest, absolute; its last part may hold * and ? */
    char *to;   /* relative to the spec's folder; a folder if it ends with '/' */
    enum kage_when when;
    bool optional;
};

/* The value that one job of a matrix has on one axis. */
struct kage_spec_choice {
    char *axis, *value;
};

/* A file or folder of a share that what comes before a checkpoint reads. */
struct kage_spec_input {
    struct kage_loc loc;
    char *path; /* absolute */
};

struct kage_spec_command {
    struct kage_loc loc;
    char *id;   /* NULL when not given */
    char *name; /* never NULL: name, else id, else the first line of run or exec[0] */
    char *run;  /* exactly one of run and argv */
    char **argv;
    size_t n_argv;
    struct kage_loc what_loc;  /* of run or exec */
    char *user, *cwd, *shell;  /* defaults applied */
    struct kage_spec_envs env; /* the job's env with the command's on top, sorted by name */
    uint64_t timeout_ms;
    struct kage_loc timeout_loc;
    int *expect; /* exit codes that count as success; at least one */
    size_t n_expect;
    enum kage_when when;
    bool continue_on_error;
    bool network; /* may this command use the job's network */
    enum kage_sandbox sandbox;
    char **secrets; /* names, each one of the job's */
    size_t n_secrets;
    unsigned retries;
    bool background; /* timeout_ms is 0 unless the command itself says one */
    struct kage_spec_ready ready;
    bool pty;
    bool checkpoint; /* the machine is saved after it */
    struct kage_spec_input *inputs;
    size_t n_inputs;
};

struct kage_spec {
    char *file;   /* as given on the command line; locations borrow it */
    char *folder; /* absolute folder that relative paths start from */
    struct kage_loc loc;
    char *name;
    struct kage_loc name_loc;
    struct kage_spec_image image;
    struct kage_spec_machine machine;
    struct kage_spec_network network;
    struct kage_spec_share *shares;
    size_t n_shares;
    struct kage_spec_mount *mounts;
    size_t n_mounts;
    struct kage_spec_user *users;
    size_t n_users;
    struct kage_spec_secret *secrets;
    size_t n_secrets;
    struct kage_spec_command *commands;
    size_t n_commands;
    struct kage_spec_artifact *artifacts;
    size_t n_artifacts;
    struct kage_spec_choice *matrix; /* this job's, one for each axis in the spec's order */
    size_t n_matrix;
    struct kage_spec *next_job; /* of a matrix; freed with the first one */
    uint64_t timeout_ms;
    struct kage_loc timeout_loc;
    struct {
        struct kage_loc loc;
        uint64_t output;    /* per command, bytes that kage passes on; 0 for no limit */
        uint32_t processes; /* per command */
        uint64_t memory;    /* per command, bytes; 0 for no limit */
    } limits;
    struct kage_arena *arena; /* what all of the above lives in */
};

/* Reads and checks `path` ("-" for standard input). Every finding goes to diags; *ret is set only
 * when none of them is an error. Returns 0, 1 when there are errors (*ret stays NULL), or -1 with
 * err set when the file cannot be read. */
int kage_spec_load(const char *path, struct kage_spec **ret, struct kage_diags *diags,
                   struct kage_error *err);

/* The text of a spec ("-": of standard input), added to text, and the absolute folder that relative
 * paths in it start from. */
int kage_spec_read(const char *path, struct kage_buf *text, char **ret_folder,
                   struct kage_error *err);

/* The same for a text that is already in memory. `file` is what findings call it; relative paths
 * start from `folder`, an absolute path. Never returns -1. */
int kage_spec_load_text(const char *file, const char *folder, const char *text, size_t len,
                        struct kage_spec **ret, struct kage_diags *diags);

/* Whether a job has the values that are asked for, each written AXIS=VALUE. */
bool kage_choices_match(const struct kage_spec_choice *matrix, size_t n, char *const *asked,
                        size_t n_asked);

/* Whether a command gets the secret of that name. */
bool kage_spec_uses_secret(const struct kage_spec *spec, const char *name);

void kage_spec_free(struct kage_spec *spec);
