#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "common/loop/loop.h"
#include "runner/qemu/qmp.h"

static void the_forwarded_port_is_found(void **state)
{
    const char *text =
        "Hub -1 (job):\r\n"
        "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[HOST_FORWARD]   9       127.0.0.1  8081       10.0.3.15  8080     0     0\r\n"
        "  TCP[ESTABLISHED]    9       127.0.0.1 40000       10.0.2.15  8080     0     0\r\n"
        "  TCP[HOST_FORWARD]   3       127.0.0.1 40265       10.0.2.15  8080     0     0\r\n";

    assert_int_equal(kage_qmp_forwarded_port(text, "10.0.2.15", 8080), 40265);
    assert_int_equal(kage_qmp_forwarded_port(text, "10.0.2.15", 80), 0);
    assert_int_equal(kage_qmp_forwarded_port("", "10.0.2.15", 8080), 0);
}

struct talk {
    struct kage_loop *loop;
    char log[200];
};

static void note(struct talk *t, const char *what)
{
    strncat(t->log, what, sizeof t->log - strlen(t->log) - 1);
    strncat(t->log, ";", sizeof t->log - strlen(t->log) - 1);
}

static void on_lost(const char *why, void *user)
{
    note(user, "lost");
    kage_loop_quit(((struct talk *)user)->loop);
}

static void on_event(const char *name, const struct cJSON *data, void *user)
{
    note(user, name);
}

static void on_result(const struct cJSON *result, const char *error, void *user)
{
    note(user, error ? error : result->valuestring);
}

static void converse(const char *says, const char *expected)
{
    static const struct kage_qmp_handler handler = {.on_lost = on_lost, .on_event = on_event};
    struct kage_error err = KAGE_ERROR_INIT;
    struct talk t = {0};
    struct kage_qmp *qmp;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(kage_loop_new(&t.loop, &err), 0);
    assert_int_equal(kage_qmp_new(t.loop, pair[0], &handler, &t, &qmp, &err), 0);
    kage_qmp_execute(qmp, "a", NULL, -1, on_result, &t);
    kage_qmp_execute(qmp, "b", NULL, -1, on_result, &t);
    assert_int_equal(write(pair[1], says, strlen(says)), (ssize_t)strlen(says));
    shutdown(pair[1], SHUT_WR);
    assert_int_equal(kage_loop_run(t.loop, &err), 0);
    assert_string_equal(t.log, expected);
    kage_qmp_free(qmp);
    kage_loop_free(t.loop);
    close(pair[1]);
}

static void replies_come_in_order_between_events(void **state)
{
    converse("{\"QMP\":{}}\r\n{\"return\":{}}\r\n{\"event\":\"STOP\"}\r\n{\"return\":\"A\"}\r\n"
             "{\"error\":{\"class\":\"x\",\"desc\":\"no\"}}\r\n",
             "STOP;A;no;lost;");
}

static void what_is_not_qmp_is_lost(void **state)
{
    converse("{\"QMP\":{}}\nhello\n{\"return\":{}}\n", "lost;");
    converse("{\"return\":{}}\n{\"return\":\"A\"}\n{\"return\":\"B\"}\n{\"return\":\"C\"}\n",
             "A;B;lost;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_forwarded_port_is_found),
        cmocka_unit_test(replies_come_in_order_between_events),
        cmocka_unit_test(what_is_not_qmp_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
