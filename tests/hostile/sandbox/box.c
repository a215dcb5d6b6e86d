#include "box.h"

#include "common/proto/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORDS_MAX = 64, PATIENCE_MS = 20000 };

static char folder[] = "/tmp/kage-sandbox-test-XXXXXX";
static char probe[64];
int box_stdin = -1;
bool box_waits;

const char *box_folder(void)
{
    return folder;
}

const char *box_probe(void)
{
    return probe;
}

/* The build folder may be closed to other users, so the probe moves to one that is not. */
int box_setup(void **state)
{
    struct stat st;
    int from = open(KAGE_SANDBOX_PROBE, O_RDONLY | O_CLOEXEC);
    int to;
    umask(022);
    if (from < 0 || fstat(from, &st) < 0 || !mkdtemp(folder) || chmod(folder, 01777) < 0)
        return -1;
    snprintf(probe, sizeof probe, "%s/probe", folder);
    to = open(probe, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    while (st.st_size > 0) {
        ssize_t n = sendfile(to, from, NULL, (size_t)st.st_size);
        if (n <= 0)
            return -1;
        st.st_size -= n;
    }
    close(from);
    close(to);
    /* The caller's may lead through folders that are closed to the command's user. */
    setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
    /* Sanitizers: LeakSanitizer cannot look at a process that is not dumpable, and
     * handlers for crashes would make init killable from inside its namespace. */
    setenv("ASAN_OPTIONS",
           "detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0:"
           "handle_sigfpe=0:use_sigaltstack=0:disable_coredump=0",
           1);
    setenv("UBSAN_OPTIONS", getenv("ASAN_OPTIONS"), 1);
    return 0;
}

int box_teardown(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* DIR stands at the beginning of a word only. Not freed: it is exec'd away. */
static char *expand(char *word)
{
    char *path = word;
    if (strcmp(word, "PROBE") == 0)
        return probe;
    if (strncmp(word, "DIR", 3) == 0 && asprintf(&path, "%s%s", folder, word + 3) < 0)
        _exit(98);
    return path;
}

static int split(char *line, char **words, int n)
{
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
        assert_true(n < WORDS_MAX - 1);
        words[n++] = expand(word);
    }
    words[n] = NULL;
    return n;
}

static bool can_wait(const char *options)
{
    return box_waits && !strstr(options, "--profile") && !strstr(options, "--hostname");
}

static void start_child(int status_fd, int out, char *options, char *command, box_prepare *prepare,
                        void *arg)
{
    bool waits = can_wait(options);
    char *words[WORDS_MAX];
    char number[16];
    int n;
    int in = box_stdin >= 0 ? box_stdin : open("/dev/null", O_RDONLY);
    /* Above everything a test leaves open, so that it is not overwritten. */
    int status = fcntl(status_fd, F_DUPFD, 100);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    close(in);
    close(out);
    snprintf(number, sizeof number, "%d", status);
    words[0] = (char *)KAGE_SANDBOX_HELPER;
    words[1] = (char *)"--status-fd";
    words[2] = number;
    n = split(options, words, 3);
    words[n++] = (char *)(waits ? "--wait" : "--");
    words[n] = NULL;
    if (!waits)
        split(command, words, n);
    if (prepare)
        prepare(arg);
    execv(words[0], words);
    _exit(99);
}

static void take(struct box *b, const struct kage_sandbox_msg *msg);

static void append(char *text, size_t *len, const char *string)
{
    size_t n = strlen(string) + 1;
    assert_true(*len + n <= KAGE_SANDBOX_ORDER_BYTES);
    memcpy(text + *len, string, n);
    *len += n;
}

/* Once the helper says that it waits; anything else it says is a failure like any other. */
static void send_order(struct box *b, int out, char *options, char *command)
{
    static struct {
        struct kage_sandbox_order head;
        char text[KAGE_SANDBOX_ORDER_BYTES];
    } order;
    char control[CMSG_SPACE(3 * sizeof(int))] __attribute__((aligned(8))) = {0};
    struct kage_sandbox_msg said;
    struct iovec iov = {&order, 0};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int in = box_stdin >= 0 ? box_stdin : open("/dev/null", O_RDONLY | O_CLOEXEC);
    int streams[3] = {in, out, out};
    char *words[WORDS_MAX] = {(char *)"sandbox-helper"};
    size_t len = 0;
    int n = split(options, words, 1);
    words[n++] = (char *)"--";
    n = split(command, words, n);
    assert_int_equal(recv(b->status_fd, &said, sizeof said, 0), sizeof said);
    if (said.kind != KAGE_SANDBOX_WAITING) {
        take(b, &said);
        return;
    }
    order.head = (struct kage_sandbox_order){.kind = KAGE_SANDBOX_ORDER, .argc = (uint32_t)n};
    for (int i = 0; i < n; i++)
        append(order.text, &len, words[i]);
    for (char **e = environ; *e; e++, order.head.envc++)
        append(order.text, &len, *e);
    iov.iov_len = sizeof order.head + len;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof streams);
    memcpy(CMSG_DATA(c), streams, sizeof streams);
    assert_int_equal(sendmsg(b->status_fd, &msg, MSG_NOSIGNAL), iov.iov_len);
    if (in != box_stdin)
        close(in);
}

void box_start_prepared(struct box *b, const char *options, const char *command,
                        box_prepare *prepare, void *arg)
{
    int pair[2];
    int out[2];
    char *options_copy = strdup(options);
    char *command_copy = strdup(command);
    memset(b, 0, sizeof *b);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    b->helper = fork();
    assert_true(b->helper >= 0);
    if (b->helper == 0) {
        close(pair[0]);
        start_child(pair[1], out[1], options_copy, command_copy, prepare, arg);
    }
    close(pair[1]);
    b->status_fd = pair[0];
    b->out = out[0];
    if (can_wait(options))
        send_order(b, out[1], options_copy, command_copy);
    close(out[1]);
    free(options_copy);
    free(command_copy);
}

void box_start(struct box *b, const char *options, const char *command)
{
    box_start_prepared(b, options, command, NULL, NULL);
}

static void tell(struct box *b, enum kage_sandbox_msg_kind kind, int value)
{
    struct kage_sandbox_msg msg = {.kind = kind, .value = value};
    assert_int_equal(send(b->status_fd, &msg, sizeof msg, MSG_NOSIGNAL), sizeof msg);
}

void box_signal(struct box *b, int sig)
{
    tell(b, KAGE_SANDBOX_SIGNAL, sig);
}

/* Checks the order of messages on the way. */
static void take(struct box *b, const struct kage_sandbox_msg *msg)
{
    assert_false(b->exited);
    assert_int_equal(b->failed, 0);
    if (msg->kind == KAGE_SANDBOX_STARTED) {
        assert_false(b->started);
        b->started = true;
    } else if (msg->kind == KAGE_SANDBOX_ENDED) {
        assert_true(b->started);
        assert_false(b->ended);
        b->ended = true;
        b->wait_status = msg->value;
        tell(b, KAGE_SANDBOX_REST, 0);
    } else if (msg->kind == KAGE_SANDBOX_EXITED) {
        assert_true(b->ended);
        b->exited = true;
        shutdown(b->status_fd, SHUT_WR); /* which it waits for */
    } else {
        assert_false(b->started);
        b->failed = (int)msg->kind;
        b->errnum = msg->value;
        memcpy(b->text, msg->text, sizeof msg->text);
        assert_non_null(memchr(msg->text, '\0', sizeof msg->text));
    }
}

/* False at the end of the socket. */
static bool take_message(struct box *b)
{
    struct kage_sandbox_msg msg;
    ssize_t n = recv(b->status_fd, &msg, sizeof msg, 0);
    if (n <= 0)
        return false;
    assert_int_equal(n, sizeof msg);
    take(b, &msg);
    return true;
}

void box_await_start(struct box *b)
{
    if (!b->started && b->failed == 0 && !take_message(b))
        fail_msg("the helper said nothing");
}

static bool take_output(struct box *b)
{
    size_t room = sizeof b->output - 1 - b->output_len;
    ssize_t n = read(b->out, b->output + b->output_len, room);
    if (n > 0)
        b->output_len += (size_t)n;
    b->output[b->output_len] = '\0';
    return n > 0;
}

bool box_await_output(struct box *b, const char *text)
{
    struct pollfd pfd = {.fd = b->out, .events = POLLIN};
    while (!strstr(b->output, text)) {
        if (poll(&pfd, 1, 2000) <= 0 || !take_output(b))
            return false;
    }
    return true;
}

void box_finish(struct box *b)
{
    struct pollfd pfds[2] = {{b->status_fd, POLLIN, 0}, {b->out, POLLIN, 0}};
    while (pfds[0].fd >= 0 || pfds[1].fd >= 0) {
        if (poll(pfds, 2, PATIENCE_MS) <= 0) {
            kill(b->helper, SIGKILL);
            fail_msg("the sandbox does not end");
        }
        if (pfds[0].revents && !take_message(b))
            pfds[0].fd = -1;
        if (pfds[1].revents && !take_output(b))
            pfds[1].fd = -1;
    }
    close(b->status_fd);
    close(b->out);
    assert_int_equal(waitpid(b->helper, &b->helper_status, 0), b->helper);
}

void box_run(struct box *b, const char *options, const char *command)
{
    box_start(b, options, command);
    box_finish(b);
    if (b->failed)
        fail_msg("%s -- %s: %s: %s", options, command, b->text, strerror(b->errnum));
    assert_true(b->started);
    assert_true(b->exited);
}

const char *box_line(const struct box *b, const char *name)
{
    static char value[512];
    size_t len = strlen(name);
    for (const char *line = b->output; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && (line[len] == ' ' || line[len] == '\t')) {
            line += len;
            line += strspn(line, " \t");
            snprintf(value, sizeof value, "%.*s", (int)strcspn(line, "\n"), line);
            return value;
        }
    }
    return NULL;
}

void box_expect(const struct box *b, const char *name, const char *want)
{
    const char *got = box_line(b, name);
    if (!got || strcmp(got, want) != 0)
        fail_msg("%s: %s instead of %s", name, got ? got : "nothing", want);
}

bool box_lock_free(const char *name, int ms)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool is_free;
    assert_true(fd >= 0); /* nobody ever locked it: the test would prove nothing */
    while (!(is_free = flock(fd, LOCK_EX | LOCK_NB) == 0) && ms > 0) {
        usleep(10000);
        ms -= 10;
    }
    close(fd);
    return is_free;
}
