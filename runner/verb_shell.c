#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runner/session/exec.h"
#include "runner/verbs.h"
#include "runner/vm/run_in.h"

static const char help[] =
    "usage: kage shell [options] VM\n"
    "\n"
    "Opens the login shell of a user of the guest, on a terminal of its own.\n"
    "\n"
    "options:\n"
    "  -u, --user NAME  the user (root)\n"
    "  --raw            no sandbox, and the network: as root of the whole guest\n"
    "  --network        let the shell use the network, if the machine has one\n"
    "  -h, --help       show this help\n"
    "\n"
    "exit code: the shell's own; 125 if it did not run or nobody knows how it ended.\n";

/* For a return from the verb itself. */
#define USAGE(...) (kage_usage("shell", __VA_ARGS__), KAGE_EXEC_NO_VERDICT)

enum { RAW = 256, NETWORK };

int kage_verb_shell(int argc, char **argv)
{
    static const struct option longs[] = {{"user", required_argument, NULL, 'u'},
                                          {"raw", no_argument, NULL, RAW},
                                          {"network", no_argument, NULL, NETWORK},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    /* Programs take the encoding of text from the locale, and without one they take ASCII. */
    static char *const env[] = {(char *)"LANG=C.UTF-8"};
    struct kage_exec exec = {.pty = true,
                             .in = STDIN_FILENO,
                             .out = STDOUT_FILENO,
                             .err = STDERR_FILENO,
                             .env = env,
                             .n_env = 1};
    int c;

    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, ":u:h", longs, NULL)) != -1) {
        switch (c) {
        case 'u':
            exec.user = optarg;
            break;
        case RAW:
            exec.profile = "none";
            exec.network = true;
            break;
        case NETWORK:
            exec.network = true;
            break;
        case 'h':
            return kage_written(fputs(help, stdout) < 0);
        case ':':
            return USAGE("option '%s' needs a value", argv[optind - 1]);
        default:
            return USAGE("unknown option '%s'", argv[optind - 1]);
        }
    }
    if (optind >= argc)
        return USAGE("which machine? 'kage ps' lists them");
    if (optind + 1 < argc)
        return USAGE("one machine at a time; '%s' is one too many", argv[optind + 1]);
    return kage_vm_run_in(argv[optind], &exec, "shell");
}
