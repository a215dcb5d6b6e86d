#include "runner/vm/run_in.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "runner/session/exec.h"
#include "runner/vm/registry.h"

/* The owner learns of QEMU's end at the same time as the connection breaks; this is what it gets
 * to write it down and end. */
#define OWNER_GRACE_MS 1500

/* Owned. What the registry knows about a machine whose connection broke, else `otherwise`. */
static char *explain(const struct kage_vm *vm, const char *otherwise)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_vm now = {0};
    char *text;

    kage_vm_wait_end(vm, OWNER_GRACE_MS);
    if (kage_vm_find(vm->id, &now, &err) < 0) {
        kage_error_done(&err);
        return kage_asprintf("machine %s has been stopped and removed", vm->id);
    }
    if (now.state == KAGE_VM_ENDED)
        text = kage_asprintf("machine %s ended: %s", vm->id,
                             now.reason ? now.reason : "nobody wrote down why");
    else if (now.state == KAGE_VM_DEAD)
        text = kage_asprintf("machine %s is dead: its owner process ended without a word", vm->id);
    else
        text = kage_strdup(otherwise);
    kage_vm_done(&now);
    return text;
}

int kage_vm_run(const struct kage_vm *vm, const struct kage_exec *what, const char *verb)
{
    struct kage_exec_end end;
    int code;

    kage_exec_run(vm->port, vm->token, what, &end);
    if (end.lost) {
        KAGE_CLEANUP(kage_freep) char *why = explain(vm, end.message);

        fprintf(stderr, "kage %s: %s\n", verb, why);
    } else if (end.message) {
        fprintf(stderr, "kage %s: %s\n", verb, end.message);
    }
    code = end.code;
    kage_exec_end_done(&end);
    return code;
}

int kage_vm_run_in(const char *handle, const struct kage_exec *what, const char *verb)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_vm vm = {0};
    int code;

    if (kage_vm_find_running(handle, &vm, &err) < 0) {
        fprintf(stderr, "kage %s: %s\n", verb, err.message);
        kage_error_done(&err);
        return KAGE_EXEC_NO_VERDICT;
    }
    code = kage_vm_run(&vm, what, verb);
    kage_vm_done(&vm);
    return code;
}
