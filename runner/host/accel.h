#pragma once

#include "runner/host/facts.h"

/* Proves the accelerator of this host by starting a test guest on it (or by the cached proof):
 * sets facts->kvm or hvf, or the clause that says why not. facts->os, arch, qemu and version are
 * set already. */
void kage_host_probe_accel(struct kage_host_facts *facts);

/* Starts the test guest on `accel` ("kvm", "hvf", or "tcg" for tests of the guest itself). Returns
 * 0 when it got through, 1 with *why when not (owned), and 2 when it did not in time. */
int kage_host_try_accel(const struct kage_host_facts *facts, const char *accel, char **why);
