#pragma once

#include "runner/host/facts.h"

/* Asks QEMU which of the devices, boards, accelerators and networks that plans name it lacks, and
 * whether it can be sandboxed: sets facts->qemu_lacks; facts->qemu and os are set already. The
 * answer costs some 100 ms and is cached; it stays NULL when QEMU does not answer. */
void kage_host_ask_qemu_parts(struct kage_host_facts *facts);
