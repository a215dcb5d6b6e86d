#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct kage_guest;
struct kage_msg;
struct kage_process;
struct kage_refusal;

/* Where a process reports to. `user` is the connection that started it; after
 * kage_processes_abandon() nothing is called any more. */
struct kage_process_sink {
    /* Exactly one of these two comes first. After failed() the process is gone. */
    void (*started)(struct kage_process *p, void *user);
    void (*failed)(struct kage_process *p, const struct kage_refusal *why, void *user);
    /* Whether output may be handed over now; if not, kage_processes_resume() later. */
    bool (*ready)(void *user);
    void (*output)(struct kage_process *p, bool is_stderr, const char *data, size_t len,
                   void *user);
    /* So many bytes of standard input have left vmd. */
    void (*consumed)(struct kage_process *p, size_t bytes, void *user);
    /* The last call: every byte of output has been handed over. signal is 0 or what killed it. */
    void (*exited)(struct kage_process *p, int code, int signal, bool out_of_memory, void *user);
};

/* Starts the command of a spawn request; the sink hears of it from the loop, never from inside
 * this call. `text` keeps characters that a read cut in two together. */
int kage_process_spawn(struct kage_guest *guest, const struct kage_msg *request,
                       const struct kage_process_sink *sink, void *user, bool text,
                       struct kage_process **ret, struct kage_refusal *why);

struct kage_process *kage_process_by_handle(struct kage_guest *guest, const char *handle);
struct kage_process *kage_process_by_id(struct kage_guest *guest, void *user, int64_t id);
/* Whether the handle belonged to a process that is no more. */
bool kage_process_was(const struct kage_guest *guest, const char *handle);

int64_t kage_process_id(const struct kage_process *p);
pid_t kage_process_pid(const struct kage_process *p);
const char *kage_process_handle(const struct kage_process *p);
bool kage_process_running(const struct kage_process *p); /* started, its end not yet reported */

/* Queues bytes for standard input. Refused when more than KAGE_STDIN_WINDOW would wait. */
int kage_process_write(struct kage_process *p, const char *data, size_t len,
                       struct kage_refusal *why);
int kage_process_close_stdin(struct kage_process *p, struct kage_refusal *why);
int kage_process_resize(struct kage_process *p, int rows, int cols, struct kage_refusal *why);
/* SIGKILL ends the whole tree, any other signal goes to the command's process group. */
int kage_process_kill(struct kage_process *p, int signal, struct kage_refusal *why);

/* The connection can take output again. */
void kage_processes_resume(struct kage_guest *guest, void *user);
/* The connection is gone: ends its processes, lets detached ones run on unheard. */
void kage_processes_abandon(struct kage_guest *guest, void *user);
/* The connection is about to go, and its processes are to outlive it: they run on, and what they
 * print, how they end and what they read is kept until somebody adopts them. -1, with none parked,
 * when one has the id of a process that is parked already. */
int kage_processes_park(struct kage_guest *guest, void *user, struct kage_refusal *why);
/* Makes every parked process the connection's. -1, with none taken, when one has an id that the
 * connection itself has given to another. Nothing is reported from inside this call. */
int kage_processes_adopt(struct kage_guest *guest, const struct kage_process_sink *sink, void *user,
                         bool text, struct kage_refusal *why);
/* Whether any command still runs, or what it has started. */
bool kage_processes_alive(const struct kage_guest *guest);
void kage_processes_kill_uid(struct kage_guest *guest, uid_t uid);
void kage_processes_kill_all(struct kage_guest *guest);

/* waitpid() returned this child. False when it is none of ours. */
bool kage_process_reaped(struct kage_guest *guest, pid_t pid, int status);
