#pragma once

#include "common/base/error.h"

struct kage_guest;

/* Opens the virtio-serial port that leads to kage, which takes the kernel a moment to make. One
 * process at a time can have it open, so no command gets at it afterwards. */
int kage_control_open(struct kage_guest *guest, struct kage_error *err);
