#pragma once

#include <stdbool.h>
#include <stdint.h>

struct kage_pack;
struct kage_vm;

/*
 * Files between the host and a machine, as tar through vmd's own busybox, so that
 * the image needs nothing for it. All of these print what went wrong and return
 * an exit code: 0, 1 when something was not copied, 125 when the machine cannot
 * be reached.
 */
struct kage_copy {
    const struct kage_vm *vm;
    const char *user;  /* of the guest; NULL: root */
    bool follow;       /* copy what links point to */
    uint64_t max_size; /* from the guest */
    const char *verb;  /* for messages */
};

int kage_copy_in(const struct kage_copy *c, const char *source, const char *guest_path);
int kage_copy_out(const struct kage_copy *c, const char *guest_path, const char *target);

/* A tar archive as it is, from standard input into a folder and from a path to standard output. */
int kage_copy_tar_in(const struct kage_copy *c, const char *guest_folder);
int kage_copy_tar_out(const struct kage_copy *c, const char *guest_path);

/* What these are made of: unpacks `what` below a folder of the guest. */
int kage_copy_pack_in(const struct kage_copy *c, const struct kage_pack *what,
                      const char *guest_folder);
/* Runs an applet to its end; its standard error becomes a message unless `quiet`. */
int kage_copy_applet(const struct kage_copy *c, const char *applet, char *const *args, int n_args,
                     bool quiet);
