#pragma once

#include <stdbool.h>

#include "common/base/error.h"

struct kage_guest;

/* Loads the kernel modules that the file `list` names, one path a line, in load order. All paths
 * are taken below root_fd. A missing list is an empty one; a module that is already there is fine.
 * One that cannot be loaded does not keep the others from it; the first such is the error. */
int kage_modules_load(int root_fd, const char *list, struct kage_error *err);

/* The modules of the list kage/modules.d/NAME of the initramfs, which not every boot needs. What
 * cannot be loaded shows when it is used. */
void kage_modules_want(const struct kage_guest *guest, const char *name);

/* Wants the modules of the virtio devices that are there, so that a snapshot of the machine has
 * them and no run that starts from it has to load them again. */
void kage_modules_want_for_devices(const struct kage_guest *guest);

/* Whether there is a virtio network card, with a driver or without. */
bool kage_modules_has_network_card(const struct kage_guest *guest);
