#pragma once

#include "common/base/error.h"

struct kage_guest;
struct kage_vmd_options;

/* A guest in which every descriptor is -1. */
void kage_guest_init(struct kage_guest *guest);
void kage_guest_done(struct kage_guest *guest);

/*
 * PID 1 of a machine, in two halves. The first one works in the initramfs: file
 * systems of the kernel, modules, network, everything that vmd keeps open. The
 * second one goes over into the root file system that commands see; after it no
 * file of the initramfs has a name any more.
 */
int kage_boot_machine(struct kage_guest *guest, struct kage_error *err);
int kage_boot_enter_root(struct kage_guest *guest, struct kage_error *err);

/* The same for an ordinary program on a Linux host: nothing but what the options name. */
int kage_boot_program(struct kage_guest *guest, const struct kage_vmd_options *options,
                      struct kage_error *err);
int kage_boot_program_root(struct kage_guest *guest, const struct kage_vmd_options *options,
                           struct kage_error *err);
