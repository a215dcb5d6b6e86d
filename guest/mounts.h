#pragma once

#include <stdbool.h>

struct kage_guest;
struct kage_msg;
struct kage_refusal;

int kage_mount_add(struct kage_guest *guest, const struct kage_msg *request,
                   struct kage_refusal *why);
/* Only what kage_mount_add mounted can be unmounted. */
int kage_mount_remove(struct kage_guest *guest, const struct kage_msg *request,
                      struct kage_refusal *why);
void kage_mounts_done(struct kage_guest *guest);

/* Absolute, normalised, not "/", and neither in nor above /proc, /sys and /dev. */
int kage_mount_point_check(const char *path, struct kage_refusal *why);
