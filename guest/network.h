#pragma once

#include <stdbool.h>

#include "common/base/error.h"

struct kage_guest;

/*
 * The machine has up to two interfaces, told apart by their hardware addresses. A
 * machine that stays has a way in for others, on which vmd listens; it stays in
 * vmd's network namespace, which no command ever enters. The other one, there when
 * commands may reach out, is moved into a namespace of its own and is called eth0
 * in it. Commands without network share another namespace that has only loopback.
 */
#define KAGE_NETWORK_INTERFACE "eth0"
#define KAGE_NETWORK_ADDRESS "10.0.3.15"

/* Returns 1 when the machine has no way in. */
int kage_network_open_way_in(const struct kage_guest *guest, struct kage_error *err);

/* Makes the namespaces for commands. Those that cannot be made stay at -1. */
int kage_network_make_namespaces(struct kage_guest *guest, struct kage_error *err);
