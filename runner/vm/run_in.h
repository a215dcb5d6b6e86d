#pragma once

struct kage_exec;
struct kage_vm;

/* Runs a command in a machine and returns its exit code. What there is to say goes to standard
 * error after "kage VERB: "; when the connection was lost, the registry is asked what became of the
 * machine. */
int kage_vm_run(const struct kage_vm *vm, const struct kage_exec *what, const char *verb);

/* The same for a handle as users write it; 125 when there is no such machine. */
int kage_vm_run_in(const char *handle, const struct kage_exec *what, const char *verb);
