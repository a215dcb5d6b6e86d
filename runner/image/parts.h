#pragma once

#include "common/base/error.h"
#include "runner/spec/spec.h"

/* What using an image and looking whether it could be used both ask. */

/* A regular file that this user can read; `what` it is to be, for the message. */
int kage_image_require_file(const char *what, const char *path, struct kage_error *err);

/* tiny holds the vmd that was built with this kage, for the architecture it was built for. */
int kage_image_require_own_arch(enum kage_arch arch, struct kage_error *err);

/* Reads all of the open file and compares. */
int kage_image_require_digest(const char *digest, const char *path, int fd, struct kage_error *err);
