#pragma once

#include <stdbool.h>

#include "common/base/error.h"

struct kage_guest;

/*
 * The machine has up to two interfaces. eth0 is the control network that vmd
 * listens on; it stays in vmd's network namespace, which no command ever enters.
 * eth1, there when commands may reach out, is moved into a namespace of its own.
 * Commands without network share another namespace that has only loopback.
 */
#define KAGE_NETWORK_INTERFACE "eth1"
#define KAGE_NETWORK_ADDRESS "10.0.3.15"

int kage_network_start_control(const struct kage_guest *guest, struct kage_error *err);

/* Makes the namespaces for commands. Those that cannot be made stay at -1. */
int kage_network_make_namespaces(struct kage_guest *guest, struct kage_error *err);
