#include "runner/session/artifacts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "common/proto/message.h"
#include "runner/copy/child.h"
#include "runner/copy/unpack.h"
#include "runner/report/output.h"
#include "runner/session/client.h"
#include "runner/session/place.h"
#include "runner/session/run_state.h"

/*
 * Theory of operation. One artifact at a time:
 *
 *   a path      probe → tar → unpacked → next
 *   a pattern   find → names, and each of them as a path
 *
 * Everything that comes back is a guest's word. Names are checked here, the
 * archive in kage_unpack(), in a child that has the folder it may write to and
 * nothing else to do. What it has to say comes back over a pipe.
 */

/* All artifacts of one job together; each file counts for KAGE_UNPACK_ENTRY_COST at least. Far
 * more than reports and packages have, far less than a disk. */
#define SIZE_MAX_ALL ((uint64_t)4 << 30)
/* What tar may send beside that: headers and padding. */
#define ARCHIVE_EXTRA ((uint64_t)64 << 20)
#define NAMES_MAX 1000u
#define NAMES_BYTES_MAX (256u * 1024u)
#define SAID_MAX 4096u

enum stage { IDLE, PROBING, FINDING, COPYING, DRAINING };

struct kage_artifacts {
    size_t index; /* of the artifact */
    enum stage stage;
    char **names; /* what the pattern matches, or the one name */
    size_t n_names, name;
    struct kage_buf found, said; /* what find and tar printed */
    char *handle;

    struct kage_copy_child child;
    struct kage_unpack where;
    char *where_name;
    struct kage_output *sink;
    int words;       /* the child's, to be read */
    int words_child; /* its end */
    bool broken;     /* the child is gone */
    uint64_t received, used;
    int guest_code;
    bool copied;
    struct kage_buf notes;
};

static void next_name(struct kage_run *run);
static void next_artifact(struct kage_run *run);

static const struct kage_plan_artifact *current(const struct kage_run *run)
{
    return &run->plan->artifacts[run->artifacts->index];
}

/* The two parts of a path: what is before its last slash, and what is behind it. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? kage_strdup("/") : kage_strndup(path, (size_t)(slash - path));
}

static const char *name_of(const char *path)
{
    return strrchr(path, '/') + 1;
}

static bool is_pattern(const char *path)
{
    return strpbrk(name_of(path), "*?");
}

/* ---- the end of one ---- */

static void names_done(struct kage_artifacts *a)
{
    for (size_t i = 0; i < a->n_names; i++)
        free(a->names[i]);
    free(a->names);
    a->names = NULL;
    a->n_names = a->name = 0;
}

/* Takes the message. */
static void end_artifact(struct kage_run *run, enum kage_artifact_status status, char *message)
{
    struct kage_artifacts *a = run->artifacts;
    const struct kage_plan_artifact *artifact = current(run);
    struct kage_artifact_result *r = &run->result->artifacts[a->index];

    r->status = status;
    r->message = message;
    if (status == KAGE_ARTIFACT_FAILED) {
        KAGE_CLEANUP(kage_freep)
        char *path = kage_printable(artifact->path, strlen(artifact->path));
        KAGE_CLEANUP(kage_freep) char *text = kage_asprintf("artifact %s: %s", path, message);

        if (run->job_failed)
            kage_run_progress(run, "%s", text);
        kage_steps_fail(run, KAGE_CLASS_COMMAND, 1, artifact->loc, text);
    } else if (message) {
        kage_run_progress(run, "artifact %s: %s", artifact->path, message);
    }
    names_done(a);
    kage_buf_clear(&a->notes);
    a->stage = IDLE;
    a->index++;
    next_artifact(run);
}

static void missing(struct kage_run *run, const char *why)
{
    bool optional = current(run)->optional;

    end_artifact(run, optional ? KAGE_ARTIFACT_MISSING : KAGE_ARTIFACT_FAILED,
                 optional ? NULL : kage_strdup(why));
}

/* ---- programs in the guest ---- */

static void on_started(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;
    struct kage_artifacts *a = run->artifacts;

    if (run->done)
        return;
    if (reply->type == KAGE_MSG_ERROR) {
        KAGE_CLEANUP(kage_freep)
        char *why = kage_printable(reply->error.message, strlen(reply->error.message));

        kage_run_finish(run, KAGE_CLASS_INTERNAL, 0, current(run)->loc,
                        kage_asprintf("the guest cannot copy artifacts: %s", why));
        return;
    }
    free(a->handle);
    a->handle = kage_strdup(reply->spawned.handle);
    kage_client_expect(run->client, kage_steps_free_id(run));
}

static void start_applet(struct kage_run *run, const char *applet, const char *const *args,
                         size_t n)
{
    struct kage_msg msg;

    kage_buf_clear(&run->artifacts->found);
    kage_buf_clear(&run->artifacts->said);
    /* Borrowed, and only read: no kage_msg_done(). */
    kage_msg_init(&msg, KAGE_MSG_SPAWN);
    msg.id = kage_steps_free_id(run);
    msg.spawn.command = (char *)applet;
    msg.spawn.args = (struct kage_str_list){.items = (char **)args, .n = n};
    msg.spawn.builtin = true;
    msg.spawn.no_stdin = true;
    kage_client_request_msg(run->client, &msg, on_started, run);
}

static void kill_applet(struct kage_run *run)
{
    struct kage_msg msg;

    if (!run->artifacts->handle || !run->client)
        return;
    kage_msg_init(&msg, KAGE_MSG_KILL);
    msg.kill.handle = run->artifacts->handle;
    msg.kill.signal = SIGKILL;
    kage_client_request_msg(run->client, &msg, NULL, NULL);
}

/* ---- the child that unpacks ---- */

static int unpack_work(int fd, void *user)
{
    struct kage_artifacts *a = user;
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_unpacked done = {0};
    int r = kage_unpack(&a->where, fd, &done, &err);

    if (r < 0)
        dprintf(a->words_child, "%s", err.message);
    else if (done.entries <= done.left_out)
        dprintf(a->words_child, "it is neither a file nor a folder; links are not followed");
    else if (done.left_out)
        dprintf(a->words_child, "%llu left out: neither files nor folders",
                (unsigned long long)done.left_out);
    return r < 0 ? 1 : done.entries <= done.left_out ? 2 : 0;
}

static char *read_words(int fd)
{
    char text[SAID_MAX];
    ssize_t n = read(fd, text, sizeof text);

    return n > 0 ? kage_printable(text, (size_t)n) : NULL;
}

static void on_sink_full(void *user)
{
    struct kage_run *run = user;

    kage_client_pause(run->client, true);
}

static void finish_copy(struct kage_run *run);

static void on_sink_empty(void *user)
{
    struct kage_run *run = user;

    if (run->done)
        return;
    kage_run_unpause(run);
    if (run->artifacts->stage == DRAINING)
        finish_copy(run);
}

static void on_sink_broken(int errnum, void *user)
{
    struct kage_run *run = user;

    run->artifacts->broken = true;
    if (run->done)
        return;
    kage_run_unpause(run);
    if (run->artifacts->stage == COPYING)
        kill_applet(run);
    else if (run->artifacts->stage == DRAINING)
        finish_copy(run);
}

static int start_child(struct kage_run *run, struct kage_error *err)
{
    static const struct kage_output_handler handler = {
        .on_full = on_sink_full, .on_empty = on_sink_empty, .on_broken = on_sink_broken};
    struct kage_artifacts *a = run->artifacts;
    const struct kage_plan_artifact *artifact = current(run);
    int pipe_fds[2];

    a->where = (struct kage_unpack){.strip = a->names[a->name],
                                    .plain = true,
                                    .limit = "the limit for artifacts",
                                    .max_size = SIZE_MAX_ALL - a->used};
    kage_freep(&a->where_name);
    a->where.folder =
        kage_place_open(run->plan->folder, artifact->to, a->names[a->name], &a->where_name, err);
    if (a->where.folder < 0)
        return -1;
    a->where.top = a->where_name;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        kage_closep(&a->where.folder);
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot make a pipe");
    }
    a->words = pipe_fds[0];
    a->words_child = pipe_fds[1];
    a->broken = false;
    a->received = 0;
    if (kage_copy_child_start(unpack_work, a, true, &a->child) < 0)
        kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot start another process");
    else if (kage_output_new(run->loop, a->child.fd, &handler, run, &a->sink, err) == 0)
        return 0;
    kage_closep(&a->where.folder);
    kage_closep(&a->words);
    kage_closep(&a->words_child);
    return -1;
}

/* Waits for the child; what it said is owned by the caller, its exit code in *ret_code. */
static char *end_child(struct kage_artifacts *a, int *ret_code)
{
    char *words;

    kage_output_free(a->sink);
    a->sink = NULL;
    kage_closep(&a->where.folder);
    kage_closep(&a->words_child);
    *ret_code = kage_copy_child_wait(&a->child);
    words = read_words(a->words);
    kage_closep(&a->words);
    return words;
}

/* ---- one name ---- */

static void finish_copy(struct kage_run *run)
{
    struct kage_artifacts *a = run->artifacts;
    int code;
    KAGE_CLEANUP(kage_freep) char *words = end_child(a, &code);

    a->stage = IDLE;
    a->used += a->received < SIZE_MAX_ALL - a->used ? a->received : SIZE_MAX_ALL - a->used;
    if (code != 0 || (a->guest_code != 0 && !a->broken)) {
        KAGE_CLEANUP(kage_freep)
        char *said = kage_printable(a->said.data ? a->said.data : "", a->said.len);

        end_artifact(run, KAGE_ARTIFACT_FAILED,
                     code != 0 ? kage_strdup(words ? words : "it could not be unpacked")
                               : kage_asprintf("tar in the guest failed: %s", said));
        return;
    }
    if (words)
        kage_buf_addf(&a->notes, "%s%s", a->notes.len ? "; " : "", words);
    a->copied = true;
    a->name++;
    next_name(run);
}

static void copy_name(struct kage_run *run)
{
    struct kage_artifacts *a = run->artifacts;
    KAGE_CLEANUP(kage_freep) char *folder = folder_of(current(run)->path);
    /* As ./name, so that a name never looks like an option. */
    KAGE_CLEANUP(kage_freep) char *name = kage_asprintf("./%s", a->names[a->name]);
    const char *args[] = {"-c", "-f", "-", "-C", folder, name};
    struct kage_error err = KAGE_ERROR_INIT;

    if (start_child(run, &err) < 0) {
        end_artifact(run, KAGE_ARTIFACT_FAILED, KAGE_TAKE(err.message));
        return;
    }
    a->stage = COPYING;
    start_applet(run, "tar", args, sizeof args / sizeof *args);
}

static void next_name(struct kage_run *run)
{
    struct kage_artifacts *a = run->artifacts;

    if (a->name < a->n_names)
        copy_name(run);
    else
        end_artifact(run, KAGE_ARTIFACT_COPIED, a->notes.len ? kage_strdup(a->notes.data) : NULL);
}

/* ---- which names ---- */

static void add_name(struct kage_artifacts *a, const char *name)
{
    a->names = kage_realloc(a->names, (a->n_names + 1) * sizeof *a->names);
    a->names[a->n_names++] = kage_strdup(name);
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static bool is_plain_name(const char *untrusted)
{
    if (!*untrusted || !strcmp(untrusted, ".") || !strcmp(untrusted, "..") ||
        strlen(untrusted) > 255 || !kage_utf8_valid(untrusted, strlen(untrusted)))
        return false;
    for (const char *p = untrusted; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '/')
            return false;
    return true;
}

/* find prints "FOLDER/NAME\0" for each match. Returns a reason to refuse it all, or NULL. */
static const char *read_found(struct kage_run *run)
{
    struct kage_artifacts *a = run->artifacts;
    bool hidden = name_of(current(run)->path)[0] == '.';
    const char *at = a->found.data, *end = at + a->found.len;

    if (a->found.len > NAMES_BYTES_MAX || (a->found.len && end[-1]))
        return "the pattern matches too much";
    for (; at < end; at += strlen(at) + 1) {
        const char *slash = strrchr(at, '/'), *name = slash ? slash + 1 : at;

        if (!is_plain_name(name))
            return "the pattern matches a name with control characters";
        if (a->n_names == NAMES_MAX)
            return "the pattern matches more than 1000 names";
        if (name[0] != '.' || hidden) /* as shells do */
            add_name(a, name);
    }
    if (a->n_names)
        qsort(a->names, a->n_names, sizeof *a->names, by_text);
    return NULL;
}

static void on_found(struct kage_run *run)
{
    const char *why = read_found(run);

    if (why)
        end_artifact(run, KAGE_ARTIFACT_FAILED, kage_strdup(why));
    else if (!run->artifacts->n_names)
        missing(run, "nothing in the guest matches it");
    else
        next_name(run);
}

static void find_names(struct kage_run *run)
{
    const char *path = current(run)->path;
    KAGE_CLEANUP(kage_freep) char *folder = folder_of(path);
    const char *args[] = {folder, "-mindepth", "1",           "-maxdepth",
                          "1",    "-name",     name_of(path), "-print0"};

    run->artifacts->stage = FINDING;
    start_applet(run, "find", args, sizeof args / sizeof *args);
}

static void on_probed(const struct kage_msg *reply, void *user)
{
    struct kage_run *run = user;

    if (run->done)
        return;
    if (reply->type != KAGE_MSG_ERROR) {
        add_name(run->artifacts, name_of(current(run)->path));
        next_name(run);
    } else if (reply->error.errnum == ENOENT || reply->error.errnum == ENOTDIR) {
        missing(run, "there is no such file or folder in the guest");
    } else {
        end_artifact(run, KAGE_ARTIFACT_FAILED,
                     kage_printable(reply->error.message, strlen(reply->error.message)));
    }
}

/* A pattern's folder is probed by find itself. */
static void next_artifact(struct kage_run *run)
{
    struct kage_artifacts *a = run->artifacts;
    struct kage_msg msg;

    while (a->index < run->plan->n_artifacts && !kage_steps_wanted(run, current(run)->when))
        a->index++;
    if (a->index == run->plan->n_artifacts) {
        kage_run_finish(run, KAGE_CLASS_NONE, 0, (struct kage_loc){0}, NULL);
        return;
    }
    kage_run_progress(run, "copying %s", current(run)->path);
    if (is_pattern(current(run)->path)) {
        find_names(run);
        return;
    }
    a->stage = PROBING;
    kage_msg_init(&msg, KAGE_MSG_PROBE);
    msg.probe.path = current(run)->path;
    kage_client_request_msg(run->client, &msg, on_probed, run);
}

/* ---- what comes from the guest ---- */

static void keep(struct kage_buf *buf, const uint8_t *data, size_t len, size_t max)
{
    kage_buf_add(buf, data, buf->len + len <= max ? len : max - buf->len);
}

void kage_artifacts_on_output(struct kage_run *run, bool is_stderr, const uint8_t *data, size_t len)
{
    struct kage_artifacts *a = run->artifacts;

    if (!a)
        return;
    if (is_stderr) {
        keep(&a->said, data, len, SAID_MAX);
    } else if (a->stage == FINDING) {
        keep(&a->found, data, len, NAMES_BYTES_MAX + 1);
    } else if (a->stage == COPYING && !a->broken) {
        a->received += len;
        if (a->received > SIZE_MAX_ALL + ARCHIVE_EXTRA) {
            a->broken = true;
            kill_applet(run);
        } else {
            kage_output_write(a->sink, data, len);
        }
    }
}

void kage_artifacts_on_exit(struct kage_run *run, const struct kage_msg *msg)
{
    struct kage_artifacts *a = run->artifacts;

    if (!a)
        return;
    kage_freep(&a->handle);
    a->guest_code = (int)msg->exit.code;
    if (a->stage == FINDING) {
        on_found(run);
    } else if (a->stage == COPYING) {
        a->stage = DRAINING;
        if (a->broken || !kage_output_pending(a->sink))
            finish_copy(run);
    }
}

bool kage_artifacts_full(const struct kage_run *run)
{
    const struct kage_artifacts *a = run->artifacts;

    return a && a->sink && !a->broken && kage_output_pending(a->sink);
}

/* ---- life ---- */

void kage_artifacts_start(struct kage_run *run)
{
    if (!run->plan->n_artifacts) {
        kage_run_finish(run, KAGE_CLASS_NONE, 0, (struct kage_loc){0}, NULL);
        return;
    }
    run->artifacts = kage_alloc(sizeof *run->artifacts);
    run->artifacts->words = run->artifacts->words_child = run->artifacts->where.folder = -1;
    next_artifact(run);
}

void kage_artifacts_free(struct kage_run *run)
{
    struct kage_artifacts *a = run->artifacts;
    int code;

    if (!a)
        return;
    if (a->sink) {
        /* Cut short: what is there is not the whole. */
        kill(a->child.pid, SIGKILL);
        free(end_child(a, &code));
    }
    names_done(a);
    kage_buf_done(&a->found);
    kage_buf_done(&a->said);
    kage_buf_done(&a->notes);
    free(a->where_name);
    free(a->handle);
    free(a);
    run->artifacts = NULL;
}
