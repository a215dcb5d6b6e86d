#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/verbs.h"
#include "runner/vm/registry.h"

#define STOP_TIMEOUT_MS 10000
#define KILL_TIMEOUT_MS 2000

static const char help[] = "usage: kage stop ID...\n"
                           "       kage stop --all\n"
                           "\n"
                           "Ends machines that `kage start` made and forgets them. What was "
                           "written to a writable share is\n"
                           "on the host already; everything else in a machine goes with it.\n"
                           "\n"
                           "options:\n"
                           "  --all       every machine of yours\n"
                           "  -h, --help  show this help\n";

static int stop(const struct kage_vm *vm, struct kage_error *err)
{
    int r = kage_vm_signal_owner(vm, SIGTERM, err);

    if (r < 0)
        return -1;
    if (r == 0 && kage_vm_wait_end(vm, STOP_TIMEOUT_MS)) {
        /* QEMU goes with its owner, so this leaves nothing running either. */
        if (kage_vm_signal_owner(vm, SIGKILL, err) < 0)
            return -1;
        if (kage_vm_wait_end(vm, KILL_TIMEOUT_MS))
            return kage_error_set(err, KAGE_CLASS_HOST, "the owner of machine %s does not end",
                                  vm->id);
    }
    if (r == 1 && vm->reason && strcmp(vm->reason, "stopped") != 0)
        fprintf(stderr, "kage: machine %s (%s) had ended: %s\n", vm->id, vm->name, vm->reason);
    return kage_vm_remove(vm, err);
}

static int stop_all(struct kage_error *err)
{
    struct kage_vm *vms;
    size_t n;
    int r = 0;

    if (kage_vm_list(&vms, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (stop(&vms[i], err) < 0)
            r = -1;
    kage_vm_list_free(vms, n);
    return r;
}

static int stop_one(const char *handle, struct kage_error *err)
{
    struct kage_vm vm = {0};
    int r = kage_vm_find(handle, &vm, err);

    if (r == 0)
        r = stop(&vm, err);
    kage_vm_done(&vm);
    return r;
}

static int complain(struct kage_error *err)
{
    fprintf(stderr, "kage: %s\n", err->message);
    kage_error_done(err);
    return 1;
}

int kage_verb_stop(int argc, char **argv)
{
    static const struct option longs[] = {
        {"all", no_argument, NULL, 'a'}, {"help", no_argument, NULL, 'h'}, {0}};
    struct kage_error err = KAGE_ERROR_INIT;
    bool all = false;
    int c, code = 0;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'h')
            return kage_written(fputs(help, stdout) < 0);
        if (c != 'a')
            return -2 * kage_usage("stop", "unknown option '%s'", argv[optind - 1]);
        all = true;
    }
    if (all == (optind < argc))
        return -2 * kage_usage("stop", all ? "--all needs no names" : "which machine? Or --all");
    if (all && stop_all(&err) < 0)
        code = complain(&err);
    for (int i = optind; i < argc; i++)
        if (stop_one(argv[i], &err) < 0)
            code = complain(&err);
    return code;
}
