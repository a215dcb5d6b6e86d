#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/proto/frame.h"
#include "runner/plan/plan.h"

/* Words that every plan says alike. The first is QEMU's own seccomp filter, on Linux hosts. The
 * second is the port that leads to vmd. The third is the network by which others reach vmd in a
 * machine that stays: restrict=on, so nothing gets out through it, not even to the host's loopback;
 * port 0, so the host's kernel chooses one. */
#define KAGE_QEMU_SANDBOX "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#define KAGE_QEMU_CONTROL "virtserialport,chardev=control,name=" KAGE_CONTROL_PORT
#define KAGE_QEMU_WAY_IN                                                                           \
    "user,id=way-in,net=10.0.2.0/24,ipv6=off,restrict=on,"                                         \
    "hostfwd=tcp:127.0.0.1:0-10.0.2.15:8080"

/*
 * QEMU's command line, written one option at a time. Every option, its first
 * word and its keys stand in one table (options.c): the writer refuses what is
 * not there, and so does the reader of plan files, so that a plan can only say
 * what a plan made here could say. Files and descriptors are always
 * placeholders.
 *
 * Failures stick: the first one is kept in `err`, everything after it does
 * nothing, and kage_cmdline_end() reports it.
 */
struct kage_cmdline {
    struct kage_plan_arg *args;
    size_t n, cap;
    struct kage_error *err;
    bool failed;
    struct kage_buf value; /* of the option being written */
    const char *flag;
    struct kage_loc loc;
};

/* An option without a value: -nodefaults. */
void kage_cmdline_flag(struct kage_cmdline *c, struct kage_loc loc, const char *flag);

/* An option whose value is plain text, not a list of keys: -append TEXT. */
void kage_cmdline_text(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                       const char *text);

/* An option whose value is a placeholder: -kernel %{kernel}. */
void kage_cmdline_hole(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                       const char *name);

/* An option with keys. open … key … close; `first` is the word before the keys, or NULL. Values
 * are taken literally whatever they contain: ',' and '%' are doubled. */
void kage_cmdline_open(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                       const char *first);
void kage_cmdline_key(struct kage_cmdline *c, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void kage_cmdline_key_hole(struct kage_cmdline *c, const char *key, const char *prefix,
                           const char *name);
void kage_cmdline_close(struct kage_cmdline *c);

/* An option with keys whose value is all known beforehand. */
void kage_cmdline_whole(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                        const char *value);

/* Records a failure at `loc`. */
void kage_cmdline_fail(struct kage_cmdline *c, struct kage_loc loc, enum kage_class class,
                       const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Moves the arguments into the plan, or returns -1 with the first failure in err. */
int kage_cmdline_end(struct kage_cmdline *c, struct kage_plan *plan);

/* Is the argument after this one its value? */
bool kage_cmdline_takes_value(const char *flag);

/* The words that may come first in an option's value ("virtio-net-pci virtio-9p-pci …"); NULL if
 * there are none. Static storage. */
const char *kage_cmdline_words(const char *flag);

/* Checks a whole command line against the table; err says which argument is wrong. */
int kage_cmdline_check(const struct kage_plan_arg *args, size_t n, struct kage_error *err);

/* True for a name that may stand in %{…}: known, and for "share:NAME" a valid share name. */
bool kage_placeholder_valid(const char *name, size_t len);
