#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "runner/qemu/console.h"

static void add(struct kage_console *c, const char *s)
{
    kage_console_add(c, s, strlen(s));
}

static void a_panic_is_seen_across_pieces(void **state)
{
    struct kage_console *c = kage_alloc(sizeof *c);

    add(c, "Kernel panic - not sync");
    assert_false(c->panicked);
    add(c, "ing: oh\r\nmore\n");
    assert_true(c->panicked);
    assert_string_equal(c->panic, "Kernel panic - not syncing: oh");
    free(c);
}

static void the_tail_is_the_last_lines_made_printable(void **state)
{
    struct kage_console *c = kage_alloc(sizeof *c);
    char *tail = kage_console_tail(c, 3);

    assert_string_equal(tail, "");
    free(tail);
    add(c, "one\r\ntwo\nthree\x1b[31m\nfour\n\n");
    tail = kage_console_tail(c, 2);
    assert_string_equal(tail, "  three\\x1b[31m\n  four\n");
    free(tail);
    tail = kage_console_tail(c, 99);
    assert_string_equal(tail, "  one\n  two\n  three\\x1b[31m\n  four\n");
    free(tail);
    free(c);
}

static void a_flood_keeps_the_end(void **state)
{
    struct kage_console *c = kage_alloc(sizeof *c);
    char *tail;

    for (int i = 0; i < 100000; i++)
        add(c, "x0123456789\n");
    add(c, "last");
    tail = kage_console_tail(c, 1);
    assert_string_equal(tail, "  last\n");
    free(tail);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_panic_is_seen_across_pieces),
        cmocka_unit_test(the_tail_is_the_last_lines_made_printable),
        cmocka_unit_test(a_flood_keeps_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
