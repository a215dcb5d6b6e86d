#include "runner/spec/foreign.h"

#include <string.h>

#include "runner/diag/diag.h"
#include "runner/spec/suggest.h"
#include "runner/yaml/tree.h"

#define JOB KAGE_OBJECT_JOB
#define IMAGE KAGE_OBJECT_IMAGE
#define MACHINE KAGE_OBJECT_MACHINE
#define NETWORK KAGE_OBJECT_NETWORK
#define SHARE KAGE_OBJECT_SHARE
#define MOUNT KAGE_OBJECT_MOUNT
#define USER KAGE_OBJECT_USER
#define DEFAULTS KAGE_OBJECT_DEFAULTS
#define COMMAND KAGE_OBJECT_COMMAND
#define LIMITS KAGE_OBJECT_LIMITS

#define COMPOSE "Compose"
#define ACTIONS "GitHub Actions"
#define GITLAB "GitLab CI"
#define LIMA "Lima"
#define VAGRANT "Vagrant"

static const struct kage_foreign foreign[] = {
    {JOB, "environment", COMPOSE, "env"},
    {JOB, "env_file", COMPOSE, "env, with the values written out"},
    {JOB, "variables", GITLAB, "env"},
    {JOB, "volumes", COMPOSE, "shares for folders of the host, mounts for where they appear"},
    {JOB, "tmpfs", COMPOSE, "mounts: [{type: tmpfs, target: ...}]"},
    {JOB, "working_dir", COMPOSE, "defaults: {cwd: ...}"},
    {JOB, "working-directory", ACTIONS, "defaults: {cwd: ...}"},
    {JOB, "services", COMPOSE, "one job per file"},
    {JOB, "jobs", ACTIONS, "one job per file, its commands under 'commands'"},
    {JOB, "steps", ACTIONS, "commands"},
    {JOB, "script", GITLAB, "commands: [{run: ...}]"},
    {JOB, "before_script", GITLAB, "commands: [{run: ...}]"},
    {JOB, "after_script", GITLAB, "a command with 'when: always'"},
    {JOB, "run", ACTIONS, "commands: [{run: ...}]"},
    {JOB, "command", COMPOSE, "commands: [{exec: [...]}]"},
    {JOB, "entrypoint", COMPOSE, "commands: [{exec: [...]}]"},
    {JOB, "tests", "other runners", "commands"},
    {JOB, "runs-on", ACTIONS, "image and machine"},
    {JOB, "container", ACTIONS, "image"},
    {JOB, "strategy", ACTIONS, "matrix"},
    {JOB, "timeout-minutes", ACTIONS, "timeout, with a unit: 30m"},
    {JOB, "ports", COMPOSE, "network: {forward: [...]}"},
    {JOB, "networks", COMPOSE, "network"},
    {JOB, "network_mode", COMPOSE, "network"},
    {JOB, "portForwards", LIMA, "network: {forward: [...]}"},
    {JOB, "forwarded_port", VAGRANT, "network: {forward: [...]}"},
    {JOB, "images", LIMA, "image"},
    {JOB, "box", VAGRANT, "image"},
    {JOB, "vm", VAGRANT, "machine"},
    {JOB, "provision", LIMA, "commands"},
    {JOB, "mem_limit", COMPOSE, "limits: {memory: ...} or machine: {memory: ...}"},
    {JOB, "synced_folder", VAGRANT, "shares and mounts"},
    {JOB, "mountType", LIMA, "mounts; shares are always virtio-9p"},
    {JOB, "vmType", LIMA, "machine: {accel: ...}"},
    {JOB, "hostname", COMPOSE, "name"},
    {JOB, "stages", GITLAB, "commands, in order"},
    {IMAGE, "location", LIMA, "url, or path for a local file"},
    {IMAGE, "sha256", "other tools", "digest: sha256:..."},
    {IMAGE, "checksum", VAGRANT, "digest: sha256:..."},
    {IMAGE, "file", "other tools", "path"},
    {IMAGE, "append", "QEMU", "cmdline"},
    {MACHINE, "cpu", VAGRANT, "cpus"},
    {MACHINE, "vcpus", "libvirt", "cpus"},
    {MACHINE, "cores", "other tools", "cpus"},
    {MACHINE, "ram", "other tools", "memory"},
    {MACHINE, "mem", "other tools", "memory"},
    {MACHINE, "storage", "other tools", "disk"},
    {MACHINE, "accelerator", "QEMU", "accel"},
    {MACHINE, "platform", COMPOSE, "arch"},
    {NETWORK, "ports", COMPOSE, "forward"},
    {NETWORK, "internet", "other tools", "outbound"},
    {NETWORK, "hostfwd", "QEMU", "forward"},
    {SHARE, "location", LIMA, "path"},
    {SHARE, "source", COMPOSE, "path"},
    {SHARE, "src", COMPOSE, "path"},
    {SHARE, "host", VAGRANT, "path"},
    {SHARE, "hostPath", "Kubernetes", "path"},
    {SHARE, "read_only", COMPOSE, "writable: true where it is wanted; read-only is the default"},
    {SHARE, "readonly", "other tools",
     "writable: true where it is wanted; read-only is the default"},
    {SHARE, "ro", "other tools", "writable: true where it is wanted; read-only is the default"},
    {SHARE, "rw", "other tools", "writable"},
    {SHARE, "target", COMPOSE, "an entry in 'mounts' with a target"},
    {MOUNT, "destination", COMPOSE, "target"},
    {MOUNT, "dst", COMPOSE, "target"},
    {MOUNT, "mountPoint", LIMA, "target"},
    {MOUNT, "mount_point", "other tools", "target"},
    {MOUNT, "mountPath", "Kubernetes", "target"},
    {MOUNT, "path", "other tools", "target, and source for the share"},
    {MOUNT, "location", LIMA, "source, with the folder under 'shares'"},
    {MOUNT, "src", COMPOSE, "source"},
    {MOUNT, "share", "other tools", "source"},
    {MOUNT, "read_only", COMPOSE, "writable: false"},
    {MOUNT, "readonly", "other tools", "writable: false"},
    {MOUNT, "ro", "other tools", "writable: false"},
    {USER, "id", "other tools", "uid"},
    {USER, "group", "other tools", "gid"},
    {USER, "homedir", "cloud-init", "home"},
    {DEFAULTS, "working-directory", ACTIONS, "cwd"},
    {DEFAULTS, "working_dir", COMPOSE, "cwd"},
    {DEFAULTS, "run", ACTIONS, "shell and cwd, directly under 'defaults'"},
    {DEFAULTS, "timeout-minutes", ACTIONS, "timeout, with a unit: 30m"},
    {COMMAND, "environment", COMPOSE, "env"},
    {COMMAND, "working-directory", ACTIONS, "cwd"},
    {COMMAND, "working_dir", COMPOSE, "cwd"},
    {COMMAND, "workdir", "Docker", "cwd"},
    {COMMAND, "dir", "other tools", "cwd"},
    {COMMAND, "script", GITLAB, "run"},
    {COMMAND, "shell_command", "other tools", "run"},
    {COMMAND, "inline", VAGRANT, "run"},
    {COMMAND, "command", COMPOSE, "exec"},
    {COMMAND, "cmd", "Docker", "exec"},
    {COMMAND, "argv", "other tools", "exec"},
    {COMMAND, "args", "other tools", "exec, with the arguments behind the program"},
    {COMMAND, "entrypoint", COMPOSE, "exec"},
    {COMMAND, "uses", ACTIONS, "run; there are no actions"},
    {COMMAND, "with", ACTIONS, "env"},
    {COMMAND, "if", ACTIONS, "when: on-success, on-failure or always"},
    {COMMAND, "always_run", "other tools", "when: always"},
    {COMMAND, "timeout-minutes", ACTIONS, "timeout, with a unit: 30m"},
    {COMMAND, "continue_on_error", "other tools", "continue-on-error"},
    {COMMAND, "ignore_errors", "Ansible", "continue-on-error"},
    {COMMAND, "allow_failure", GITLAB, "continue-on-error"},
    {COMMAND, "retry", GITLAB, "retries"},
    {COMMAND, "depends_on", COMPOSE, "the order of the commands"},
    {COMMAND, "needs", ACTIONS, "the order of the commands"},
    {COMMAND, "privileged", COMPOSE, "user: root"},
    {COMMAND, "uid", "other tools", "user, with the uid under 'users'"},
    {COMMAND, "tty", COMPOSE, "pty"},
    {COMMAND, "exit_code", "other tools", "expect: {exit: ...}"},
    {LIMITS, "pids", COMPOSE, "processes"},
    {LIMITS, "mem", "other tools", "memory"},
};

#define N_FOREIGN (sizeof(foreign) / sizeof(foreign[0]))

const struct kage_foreign *kage_foreign_find(enum kage_object_id object, const char *word)
{
    for (size_t i = 0; i < N_FOREIGN; i++)
        if (foreign[i].object == object && strcmp(foreign[i].word, word) == 0)
            return &foreign[i];
    return NULL;
}

void kage_foreign_suggest(enum kage_object_id object, const char *word,
                          struct kage_suggestion *suggestion)
{
    for (size_t i = 0; i < N_FOREIGN; i++)
        if (foreign[i].object == object && !strchr(foreign[i].ours, ' '))
            kage_suggest(suggestion, word, foreign[i].word, foreign[i].ours);
}

/* Kinds of files that people point kage at, and what gives them away. */
static const struct {
    const char *starts; /* the first line that is no comment starts like this */
    const char *what, *help;
} texts[] = {
    {"Vagrant.configure", "a Vagrantfile",
     "write a spec: config.vm.box becomes 'image', provisioners become 'commands'"},
    {"FROM ", "a Dockerfile", "write a spec: FROM becomes 'image', RUN becomes 'commands'"},
    {"<domain", "a libvirt domain", "write a spec: see 'kage check --help'"},
    {"<?xml", "an XML file", "a spec is a YAML file"},
    {"QFI\xfb", "a qcow2 image", "name it in a spec: image: {path: ...}"},
    {"\x7f"
     "ELF",
     "a program", "name it in a spec: commands: [{exec: [...]}]"},
};

bool kage_foreign_text(const char *file, const char *text, size_t len, struct kage_diags *diags)
{
    int line = 1;
    size_t i = 0;
    while (i < len && (text[i] == '#' || text[i] == '\n' || text[i] == '\r')) {
        const char *end = memchr(text + i, '\n', len - i);
        if (!end)
            return false;
        i = (size_t)(end - text) + 1;
        line++;
    }
    for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
        size_t n = strlen(texts[k].starts);
        if (len - i < n || memcmp(text + i, texts[k].starts, n) != 0)
            continue;
        struct kage_finding *f =
            kage_diags_add(diags, K211_FOREIGN_WORD, (struct kage_span){{file, line, 1}, (int)n},
                           "this looks like %s, not like a spec", texts[k].what);
        kage_finding_help(f, "%s", texts[k].help);
        return true;
    }
    return false;
}

/* Kinds of YAML files: all of `all` are top-level keys, and one of `any` is if there is one. */
static const struct {
    const char *all[3], *any[6];
    const char *what, *help;
} trees[] = {
    {{"services"},
     {0},
     "a Compose file",
     "one service becomes one spec: volumes become 'shares' and 'mounts', environment 'env'"},
    {{"jobs"},
     {"on", "runs-on", "permissions", "concurrency", "workflows", "name"},
     "a GitHub Actions workflow",
     "one job becomes one spec: its steps become 'commands'"},
    {{"runs"},
     {"inputs", "outputs", "branding", "description"},
     "a GitHub action",
     "its steps become 'commands'"},
    {{"stages"}, {0}, "a GitLab CI file", "one job becomes one spec: script becomes 'commands'"},
    {{"images"},
     {"provision", "mountType", "vmType", "arch", "mounts", "containerd"},
     "a Lima instance",
     "images becomes 'image', provision becomes 'commands'"},
    {{"apiVersion", "kind"}, {0}, "a Kubernetes object", "write a spec with image and commands"},
    {{"packages"},
     {"runcmd", "write_files", "bootcmd", "ssh_authorized_keys"},
     "a cloud-init configuration",
     "runcmd becomes 'commands'"},
    {{"$schema"}, {"properties", "definitions", "$defs"}, "a JSON Schema", NULL},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool matches(const struct kage_node *root, size_t k)
{
    for (size_t i = 0; i < COUNT(trees[k].all) && trees[k].all[i]; i++)
        if (!kage_node_find(root, trees[k].all[i]))
            return false;
    bool found = !trees[k].any[0];
    for (size_t i = 0; !found && i < COUNT(trees[k].any) && trees[k].any[i]; i++)
        found = kage_node_find(root, trees[k].any[i]);
    return found;
}

static bool report_whole(const struct kage_node *at, const char *what, const char *help,
                         struct kage_diags *diags)
{
    struct kage_finding *f = kage_diags_add(diags, K211_FOREIGN_WORD, at->at,
                                            "this looks like %s, not like a spec", what);
    if (help)
        kage_finding_help(f, "%s", help);
    return true;
}

bool kage_foreign_tree(const struct kage_node *root, struct kage_diags *diags)
{
    if (root->kind == KAGE_NODE_LIST && root->n > 0 && root->items[0]->kind == KAGE_NODE_MAP) {
        const struct kage_node *play = root->items[0];
        if (kage_node_find(play, "hosts") &&
            (kage_node_find(play, "tasks") || kage_node_find(play, "roles")))
            return report_whole(play->pairs[0].key, "an Ansible playbook",
                                "tasks become 'commands'", diags);
    }
    if (root->kind != KAGE_NODE_MAP || kage_node_find(root, "commands"))
        return false;
    for (size_t k = 0; k < COUNT(trees); k++) {
        if (matches(root, k))
            return report_whole(kage_node_find(root, trees[k].all[0])->key, trees[k].what,
                                trees[k].help, diags);
    }
    return false;
}
