#pragma once

#include "common/base/error.h"

struct kage_guest;

/*
 * The root file system that commands see, mounted at `target` in the initramfs:
 * the folder /image of the initramfs, or, with kage.root=SERIAL on the kernel's
 * command line, the system on that disk under a layer of memory, which is
 * thrown away with the machine. The disk itself is never written to.
 */
int kage_root_mount(const struct kage_guest *guest, const char *target, struct kage_error *err);
