#include <getopt.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/spec/schema.h"
#include "runner/verbs.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: kage schema [OPTION]\n"
    "Print the JSON Schema (draft-07) of specs, for editors and validators. It covers what the\n"
    "findings K2xx cover; what a spec means only 'kage check' can judge.\n"
    "\n"
    "  --markdown  print the reference of all fields that is in the documentation\n"
    "  -h, --help  show this help\n"
    "\n"
    "Exit codes: 0 done, 2 wrong usage.\n";

int kage_verb_schema(int argc, char **argv)
{
    static const struct option longs[] = {
        {"markdown", no_argument, NULL, 'm'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    KAGE_CLEANUP(kage_buf_done) struct kage_buf out = {0};
    void (*print)(struct kage_buf * out) = kage_schema_print;
    optind = 0;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        if (c == 'h')
            return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? EXIT_USAGE : 0;
        if (c != 'm') {
            kage_usage("schema", "there is no option '%s'", argv[optind - 1]);
            return EXIT_USAGE;
        }
        print = kage_reference_print;
    }
    if (optind < argc) {
        kage_usage("schema", "'%s' is one argument too many", argv[optind]);
        return EXIT_USAGE;
    }
    print(&out);
    return fputs(out.data, stdout) < 0 || fflush(stdout) != 0 ? EXIT_USAGE : 0;
}
