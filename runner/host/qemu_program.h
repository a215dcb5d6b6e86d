#pragma once

#include "runner/host/facts.h"

/* Finds the QEMU program for guests of `arch` and asks it for its version: sets facts->qemu,
 * qemu_version and qboot. Fails with class host and says what to install. */
int kage_host_find_qemu(enum kage_arch arch, struct kage_host_facts *facts, struct kage_error *err);

/* The first executable file of that name in PATH, or in /usr/bin and /bin when PATH is not set.
 * Relative entries are passed over: what runs must not depend on the folder kage is called in.
 * Owned, or NULL. */
char *kage_host_find_in_path(const char *program);

/* Reads "7.2.22" or "7.2" at the start of text. */
bool kage_host_parse_version(const char *text, int ret[3]);
