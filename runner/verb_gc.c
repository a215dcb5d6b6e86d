#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "runner/verbs.h"
#include "runner/vm/registry.h"

static const char help[] = "usage: kage gc\n"
                           "\n"
                           "Forgets the machines that have ended or whose owner was killed, and "
                           "says which. Machines that\n"
                           "live are left alone.\n"
                           "\n"
                           "options:\n"
                           "  -h, --help  show this help\n";

int kage_verb_gc(int argc, char **argv)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_vm *vms;
    size_t n;
    int c, code = 0;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'h')
            return kage_written(fputs(help, stdout) < 0);
        return -2 * kage_usage("gc", "unknown option '%s'", argv[optind - 1]);
    }
    if (optind < argc)
        return -2 * kage_usage("gc", "it takes no arguments; `kage stop` ends one machine");
    if (kage_vm_list(&vms, &n, &err) < 0) {
        fprintf(stderr, "kage: %s\n", err.message);
        kage_error_done(&err);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (vms[i].owner)
            continue;
        if (kage_vm_remove(&vms[i], &err) == 0) {
            /* The reason's further lines are the console's last words. */
            printf("%s (%s) %.*s\n", vms[i].id, vms[i].name, (int)strcspn(vms[i].reason, "\n"),
                   vms[i].reason);
            continue;
        }
        fprintf(stderr, "kage: %s\n", err.message);
        kage_error_done(&err);
        code = 1;
    }
    kage_vm_list_free(vms, n);
    return kage_written(code);
}
