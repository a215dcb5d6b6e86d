#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runner/lsp/server.h"
#include "runner/verbs.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: kage lsp\n"
    "Serve an editor over standard input and output: diagnostics, completion, hover, quick fixes,\n"
    "symbols and definitions for specs, by the Language Server Protocol 3.17.\n"
    "\n"
    "  --stdio     for the habit: there is no other way\n"
    "  -h, --help  show this help\n"
    "\n"
    "Exit codes: 0 the editor said goodbye, 1 it did not, 2 wrong usage.\n";

int kage_verb_lsp(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? EXIT_USAGE : 0;
    if (argc > 2 || (argc == 2 && strcmp(argv[1], "--stdio") != 0)) {
        kage_usage("lsp", "'%s' is one argument too many", argv[argc - 1]);
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    return kage_lsp_serve(STDIN_FILENO, STDOUT_FILENO);
}
