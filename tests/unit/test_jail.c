#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/qemu/jail.h"

/* Each check runs in a child inside the jail and reports an errno as its exit code. */
struct world {
    char dir[64];
    int share, source;
    int ruleset;
};

static int in_jail(const struct world *w, int (*check)(const struct world *))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        int r = kage_jail_enter(w->ruleset);

        _exit(r ? 255 : check(w));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags, 0600);

    return fd < 0 ? errno : 0;
}

/* Good until the next call. */
static const char *in(const struct world *w, const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    return path;
}

static int read_passwd(const struct world *w)
{
    return try_open("/etc/passwd", O_RDONLY);
}

static int read_source(const struct world *w)
{
    return try_open(in(w, "source/file"), O_RDONLY);
}

static int write_source(const struct world *w)
{
    return try_open(in(w, "source/new"), O_WRONLY | O_CREAT);
}

static int write_share(const struct world *w)
{
    return try_open(in(w, "share/new"), O_WRONLY | O_CREAT);
}

static int through_link(const struct world *w)
{
    const char *link = in(w, "share/link");

    if (symlink("/etc/passwd", link) < 0)
        return 254;
    return try_open(link, O_RDONLY);
}

static int device_in_share(const struct world *w)
{
    return mknod(in(w, "share/dev"), S_IFCHR | 0666, 0x103) < 0 ? errno : 0;
}

static int execute(const struct world *w)
{
    execl("/bin/true", "true", (char *)NULL);
    return errno;
}

static int connect_out(const struct world *w)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(1)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
}

static int set_up(void **state)
{
    struct world *w = kage_alloc(sizeof *w);
    struct kage_jail_path paths[2];
    struct kage_jail jail = {.program = "/bin/sleep", .paths = paths, .n_paths = 2};
    struct kage_error err = KAGE_ERROR_INIT;
    int fd;

    strcpy(w->dir, "/tmp/kage-jail-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(mkdir(in(w, "share"), 0700), 0);
    assert_int_equal(mkdir(in(w, "source"), 0700), 0);
    fd = open(in(w, "source/file"), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    w->share = open(in(w, "share"), O_RDONLY | O_DIRECTORY);
    w->source = open(in(w, "source"), O_RDONLY | O_DIRECTORY);
    paths[0] = (struct kage_jail_path){.fd = w->share, .writable = true};
    paths[1] = (struct kage_jail_path){.fd = w->source};
    w->ruleset = kage_jail_prepare(&jail, &err);
    *state = w;
    return w->ruleset == -1 ? -1 : 0;
}

static int clean_up(void **state)
{
    struct world *w = *state;
    char *command = kage_asprintf("rm -rf '%s'", w->dir);
    int r = system(command);

    free(command);
    free(w);
    return r;
}

static void the_jail_holds(void **state)
{
    struct world *w = *state;

    if (w->ruleset == -2) {
        print_message("skipped: this kernel has no Landlock\n");
        skip();
    }
    assert_int_equal(in_jail(w, read_passwd), EACCES);
    assert_int_equal(in_jail(w, read_source), 0);
    assert_int_equal(in_jail(w, write_source), EACCES);
    assert_int_equal(in_jail(w, write_share), 0);
    assert_int_equal(in_jail(w, through_link), EACCES);
    assert_int_equal(in_jail(w, device_in_share), EACCES);
    assert_int_equal(in_jail(w, execute), EACCES);
}

static void without_network_nothing_connects(void **state)
{
    struct world *w = *state;
    int r;

    if (w->ruleset == -2)
        skip();
    r = in_jail(w, connect_out);
    if (r == ECONNREFUSED) {
        print_message("skipped: this kernel's Landlock is older than ABI 4\n");
        skip();
    }
    assert_int_equal(r, EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_jail_holds),
        cmocka_unit_test(without_network_nothing_connects),
    };

    return cmocka_run_group_tests(tests, set_up, clean_up);
}
