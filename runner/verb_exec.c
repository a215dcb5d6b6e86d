#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/session/exec.h"
#include "runner/spec/units.h"
#include "runner/verbs.h"
#include "runner/vm/run_in.h"

static const char help[] =
    "usage: kage exec [options] VM [options] [--] COMMAND [ARGUMENT...]\n"
    "\n"
    "Runs a command in a machine that `kage start` started; VM is its id, name or port. Standard\n"
    "input goes to the command, and its output and exit code come back as they are. The command\n"
    "runs in a sandbox of its own, as root, without the network.\n"
    "\n"
    "options:\n"
    "  --raw            no sandbox, and the network: as root of the whole guest\n"
    "  --profile NAME   what the sandbox allows: default, strict or none\n"
    "  --network        let the command use the network, if the machine has one\n"
    "  -u, --user NAME  run as this user of the guest\n"
    "  -w, --cwd DIR    start in this folder of the guest\n"
    "  -e, --env N=V    set an environment variable; may be given again\n"
    "  -t, --pty        give the command a terminal\n"
    "  -i               for the habit: standard input is forwarded anyway\n"
    "  -n, --no-stdin   the command reads /dev/null, and nothing is read here\n"
    "  --timeout TIME   end the command after this long (90s, 5m)\n"
    "  -h, --help       show this help\n"
    "\n"
    "INT, TERM, HUP and QUIT are passed on to the command; INTs that insist, two or three within "
    "a\n"
    "second, kill it.\n"
    "\n"
    "exit code: the command's own; 128+n if signal n killed it; 127 or 126 if it could not be "
    "found\n"
    "or executed; 124 on a timeout; 125 if it did not run or nobody knows how it ended.\n";

struct options {
    struct kage_exec exec;
    const char *vm;
    char **env;
    size_t n_env, cap_env;
    bool raw, no_stdin, help;
};

static int add_env(struct options *o, char *pair)
{
    if (pair[0] == '=' || !strchr(pair, '='))
        return kage_usage("exec", "--env takes NAME=VALUE, not '%s'", pair);
    o->env = kage_array_grow(o->env, &o->cap_env, o->n_env + 1, sizeof *o->env);
    o->env[o->n_env++] = pair;
    return 0;
}

enum { RAW = 256, PROFILE, NETWORK, TIMEOUT };

static const struct option longs[] = {
    {"raw", no_argument, NULL, RAW},
    {"profile", required_argument, NULL, PROFILE},
    {"network", no_argument, NULL, NETWORK},
    {"user", required_argument, NULL, 'u'},
    {"cwd", required_argument, NULL, 'w'},
    {"env", required_argument, NULL, 'e'},
    {"pty", no_argument, NULL, 't'},
    {"tty", no_argument, NULL, 't'},
    {"interactive", no_argument, NULL, 'i'},
    {"no-stdin", no_argument, NULL, 'n'},
    {"timeout", required_argument, NULL, TIMEOUT},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int take(struct options *o, int c, char *const *argv)
{
    switch (c) {
    case RAW:
        o->raw = true;
        return 0;
    case PROFILE:
        o->exec.profile = optarg;
        return 0;
    case NETWORK:
        o->exec.network = true;
        return 0;
    case 'u':
        o->exec.user = optarg;
        return 0;
    case 'w':
        o->exec.cwd = optarg;
        return 0;
    case 'e':
        return add_env(o, optarg);
    case 't':
        o->exec.pty = true;
        return 0;
    case 'i':
        return 0;
    case 'n':
        o->no_stdin = true;
        return 0;
    case TIMEOUT:
        if (!kage_parse_duration(optarg, &o->exec.timeout_ms) || !o->exec.timeout_ms)
            return kage_usage("exec", "--timeout takes a time such as 90s or 5m, not '%s'", optarg);
        return 0;
    case 'h':
        o->help = true;
        return 0;
    case ':':
        return kage_usage("exec", "option '%s' needs a value", argv[optind - 1]);
    default:
        return kage_usage("exec", "unknown option '%s'", argv[optind - 1]);
    }
}

/* Options stand before the machine or after it, and end at the command: `exec VM --raw -- ls -l`.
 */
static int parse(int argc, char **argv, struct options *o)
{
    int c;

    opterr = 0;
    optind = 0;
    while (!o->help && (c = getopt_long(argc, argv, "+:u:w:e:tinh", longs, NULL)) != -1)
        if (take(o, c, argv) < 0)
            return -1;
    if (o->help)
        return 0;
    if (optind >= argc)
        return kage_usage("exec", "which machine? 'kage ps' lists them");
    o->vm = argv[optind];
    if (strcmp(argv[optind - 1], "--") != 0) {
        /* getopt skips the first argument it is given, as if it were a program's name. */
        argv += optind;
        argc -= optind;
        optind = 0;
        while (!o->help && (c = getopt_long(argc, argv, "+:u:w:e:tinh", longs, NULL)) != -1)
            if (take(o, c, argv) < 0)
                return -1;
        if (o->help)
            return 0;
    } else {
        optind++;
    }
    if (optind >= argc)
        return kage_usage("exec", "which command should run in '%s'?", o->vm);
    if (o->raw && o->exec.profile)
        return kage_usage("exec", "--raw means --profile none; give one of them");
    o->exec.command = argv[optind];
    o->exec.args = argv + optind + 1;
    o->exec.n_args = (size_t)(argc - optind - 1);
    return 0;
}

int kage_verb_exec(int argc, char **argv)
{
    struct options o = {.exec = {.in = STDIN_FILENO, .out = STDOUT_FILENO, .err = STDERR_FILENO}};
    int code = KAGE_EXEC_NO_VERDICT;

    /* Nothing of ours may end up under the number of a standard stream that was closed. */
    o.no_stdin = fcntl(STDIN_FILENO, F_GETFD) < 0;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return code;
    if (parse(argc, argv, &o) == 0) {
        o.exec.env = o.env;
        o.exec.n_env = o.n_env;
        if (o.raw) {
            o.exec.profile = "none";
            o.exec.network = true;
        }
        if (o.no_stdin)
            o.exec.in = -1;
        if (o.help)
            code = kage_written(fputs(help, stdout) < 0);
        else
            code = kage_vm_run_in(o.vm, &o.exec, "exec");
    }
    free(o.env);
    return code;
}
