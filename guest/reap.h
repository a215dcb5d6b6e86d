#pragma once

#include "common/base/error.h"

struct kage_guest;

/* Takes over SIGCHLD, and SIGTERM, SIGINT and SIGHUP where vmd is an ordinary program: those end
 * the loop. As PID 1 vmd inherits every orphan of the machine; elsewhere it asks for its own. */
int kage_reap_start(struct kage_guest *guest, struct kage_error *err);
