#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/error.h"

struct kage_loop;
struct kage_watch;

/*
 * The two directions of a command's standard streams, each over one non-blocking
 * descriptor that the stream owns. Neither keeps more than a bounded number of
 * bytes: output is read only when its taker is ready, input is refused beyond
 * the window.
 */
struct kage_output {
    int fd; /* -1 once at its end */
    struct kage_watch *watch;
    bool text;   /* keep a character that a read cut in two for the next read */
    bool orphan; /* no process can write any more: empty means ended */
    char carry[4];
    size_t carry_len;

    bool (*ready)(void *user);
    void (*take)(struct kage_output *out, const char *data, size_t len, void *user);
    void (*ended)(struct kage_output *out, void *user);
    void *user;
};

int kage_output_open(struct kage_output *out, struct kage_loop *loop, int fd,
                     struct kage_error *err);
/* Goes on after ready() said no, and begins the reading in the first place. */
void kage_output_resume(struct kage_output *out);
void kage_output_done(struct kage_output *out);

struct kage_input {
    int fd; /* -1: closed, or never there */
    struct kage_watch *watch;
    bool tty;
    bool closing; /* close once the queue is empty */
    bool broken;  /* the command closed its end */
    char last;    /* last byte written, to know whether a terminal line is open */
    struct kage_buf queue;
    size_t at;         /* bytes of the queue already written */
    size_t unreported; /* bytes dealt with that consumed() has not been told of */

    void (*consumed)(struct kage_input *in, size_t bytes, void *user);
    void *user;
};

int kage_input_open(struct kage_input *in, struct kage_loop *loop, int fd, struct kage_error *err);
size_t kage_input_queued(const struct kage_input *in);
void kage_input_write(struct kage_input *in, const char *data, size_t len);
void kage_input_close(struct kage_input *in); /* end of file, after what is queued */
void kage_input_done(struct kage_input *in);
