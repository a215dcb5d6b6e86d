#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "runner/host/facts.h"
#include "runner/spec/spec.h"

/*
 * A plan is everything a run will do, as data: the QEMU command line and the
 * ordered frames, each with the line of the spec it came from. It is made
 * without I/O, so the same spec and host facts give the same bytes.
 *
 * What only a run knows stands in QEMU's arguments as a placeholder %{name}; a
 * literal '%' is written '%%' there.
 *   %{kernel} %{initrd}    files of the image, from the image store: whole arguments, so their
 *                          paths may hold commas
 *   %{rootfs-format}       raw or qcow2, whatever the image's root file system is
 *   %{qmp} %{console} %{control}
 *                          descriptor numbers of inherited sockets
 *   %{token} %{rootfs} %{scratch} %{share:NAME}
 *                          descriptor numbers too, opened by QEMU through /proc/self/fd/N on
 *                          Linux and /dev/fd/N on macOS: the file with the token, the image's root
 *                          file system, the scratch disk (token and scratch without a name) and the
 *                          folder behind share NAME
 * The environment of a command that lists secrets has NAME=%{secret:NAME} for each of them. No
 * other text of a plan is searched for placeholders.
 *
 * A command's `run` becomes an argument vector as other CI systems have it:
 *   shell: sh          /bin/sh -e -c SCRIPT
 *   shell: bash        bash --noprofile --norc -eo pipefail -c SCRIPT
 *   any other shell    SHELL -c SCRIPT
 * `exec` is passed on as it is; a program without a slash is looked up in the
 * command's PATH by the guest.
 */
struct kage_plan_arg {
    char *text;
    struct kage_loc loc;
};

struct kage_plan_share {
    char *name; /* the spec's */
    char *tag;  /* the 9p tag: share0, share1, … in the spec's order */
    char *path; /* host folder, absolute */
    bool writable;
    struct kage_loc loc;
};

struct kage_plan_secret {
    char *name;
    char *env;  /* a variable of the host, or */
    char *file; /* a file, absolute */
    struct kage_loc loc;
};

/* How a background command is found to be ready. */
struct kage_plan_ready {
    enum kage_ready kind;
    /* tcp, file: of a probe frame; exec: of a spawn frame, with an id after those of all commands.
     * Sent until the answer is yes. */
    char *payload;
    char *text; /* log: what to look for in the output */
    uint64_t timeout_ms;
    struct kage_loc loc;
};

struct kage_plan_artifact {
    char *path; /* in the guest */
    char *to;   /* below the plan's folder; ends with '/' if it is a folder */
    enum kage_when when;
    bool optional;
    struct kage_loc loc;
};

/* A file or folder that a checkpoint depends on. */
struct kage_plan_input {
    char *path; /* of the host, absolute, in one of the plan's shares */
    struct kage_loc loc;
};

enum kage_plan_step_kind {
    KAGE_STEP_SESSION, /* session_create, for every user of the spec */
    KAGE_STEP_MOUNT,
    KAGE_STEP_SPAWN,
    KAGE_STEP_COUNT,
};

struct kage_plan_step {
    enum kage_plan_step_kind kind;
    struct kage_loc loc;
    char *payload; /* JSON of the frame, canonical */
    /* spawn only */
    uint32_t id;         /* the frame's id: 1, 2, … */
    char *name;          /* what to call the command in output and reports */
    uint64_t timeout_ms; /* 0 for a background command that may run as long as the job */
    int *expect;
    size_t n_expect;
    enum kage_when when;
    bool continue_on_error;
    unsigned retries;
    bool background;
    bool pty;
    struct kage_plan_ready ready;
    char **secrets; /* names; each is in the plan's list */
    size_t n_secrets;
    bool checkpoint; /* the machine is saved after it; no command so far has a secret */
    struct kage_plan_input *inputs;
    size_t n_inputs;
};

struct kage_plan {
    char *name;
    char *label;                  /* see kage_plans_label(); NULL where the name will do */
    char *spec_file;              /* locations borrow it */
    enum kage_arch arch;          /* the guest's, never KAGE_ARCH_HOST */
    enum kage_accel accel;        /* never KAGE_ACCEL_AUTO */
    char *accel_note;             /* why not a faster one; NULL when there is nothing to say */
    struct kage_spec_image image; /* what %{kernel}, %{initrd} and %{rootfs} stand for */
    char *qemu;                   /* program */
    struct kage_plan_arg *args;   /* argv[1…] */
    size_t n_args;
    struct kage_plan_share *shares;
    size_t n_shares;
    struct kage_plan_step *steps; /* sessions, then mounts, then spawns, each in the spec's order */
    size_t n_steps;
    struct kage_plan_secret *secrets; /* those that a command lists */
    size_t n_secrets;
    struct kage_plan_artifact *artifacts;
    size_t n_artifacts;
    char *folder;                    /* host folder that artifacts are written below; else NULL */
    struct kage_spec_choice *matrix; /* this job's place in the matrix; none without one */
    size_t n_matrix;
    uint64_t memory;          /* guest's, bytes */
    uint64_t disk;            /* scratch disk, bytes; 0 for none */
    uint64_t boot_timeout_ms; /* scaled by accelerator */
    uint64_t timeout_ms;      /* of the whole job */
    uint64_t output_limit;    /* bytes; 0 for none */
};

/* The share that `path` lies in, the innermost of several, and where below its folder ("." for the
 * folder itself; owned). NULL when it lies in none. */
const struct kage_plan_share *kage_plan_share_of(const struct kage_plan *plan, const char *path,
                                                 char **ret_below);

/* Does this image come with a root file system of its own, on a disk? */
bool kage_image_has_rootfs(const struct kage_spec_image *image);

/* Pure. Fails when the host cannot run the spec (class host). */
int kage_plan_make(const struct kage_spec *spec, const struct kage_host_facts *facts,
                   struct kage_plan **ret, struct kage_error *err);
void kage_plan_free(struct kage_plan *plan);

/* Makes the machine one that others than the kage that started it reach, over a network of its own
 * and with its token: for machines that stay. */
int kage_plan_open_way_in(struct kage_plan *plan, const struct kage_host_facts *facts,
                          struct kage_error *err);

/* The job's name, with its place in the matrix if there is one: "build (cc=gcc, os=a)", and with
 * what kage_plans_label() found necessary. Owned. */
char *kage_plan_label(const struct kage_plan *plan);

/* "stock" or "lean", and back (-1 for other words). KAGE_OWN_KERNEL_ANY is "". */
const char *kage_own_kernel_name(enum kage_own_kernel kernel);
int kage_own_kernel_from(const char *word);

/* What --kernel and --initrd do. A word of kage_own_kernel_from chooses one of kage's own kernels
 * for the spec's image. Anything else is a file, which takes the image's place, perhaps with an
 * initramfs (NULL for kage's own). Relative paths start from the current folder. */
int kage_plan_use_kernel(struct kage_spec *spec, const char *kernel, const char *initrd,
                         struct kage_error *err);

void kage_plan_print_json(const struct kage_plan *plan, struct kage_buf *out);
void kage_plan_print_human(const struct kage_plan *plan, struct kage_buf *out);

/* The jobs of one spec, or of several, in order. */
struct kage_plans {
    struct kage_plan **items;
    size_t n;
};

/* Gives jobs of different specs that are called the same a label with the file's name, and the same
 * spec given twice one with a number. */
void kage_plans_label(struct kage_plans *plans);

/* How many processors the machine has. */
unsigned kage_plan_cpus(const struct kage_plan *plan);

/* One job is printed as kage_plan_print_json does, several as a list of these. */
void kage_plans_print_json(const struct kage_plans *plans, struct kage_buf *out);
void kage_plans_done(struct kage_plans *plans);

/* Reads what kage_plan_print_json or kage_plans_print_json wrote; "-" is standard input. The file
 * is as trusted as a spec: every field is checked. *ret is an empty list before. */
int kage_plans_read(const char *path, struct kage_plans *ret, struct kage_error *err);

/* Replaces the placeholders in `text` with what `lookup` gives (borrowed; NULL is an error).
 * Returns an owned string, or NULL with err set. */
char *kage_plan_expand(const char *text, const char *(*lookup)(const char *name, void *user),
                       void *user, struct kage_error *err);
