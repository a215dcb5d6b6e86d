#include "box.h"
#include "cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { EXIT_SKIPPED = 77 };

/* hostile_sandbox [--wait] [PATTERN]: runs the cases whose names match, h14_* for one; with --wait
 * in sandboxes that were made before the command was known, where the case is for such a one. */
int main(int argc, char **argv)
{
#define SANDBOX_TEST(name) cmocka_unit_test(name),
    const struct CMUnitTest tests[] = {SANDBOX_CASES(SANDBOX_TEST)};
    if (geteuid() != 0) {
        printf("skipped: making namespaces without a user namespace takes root\n");
        return EXIT_SKIPPED;
    }
    if (argc > 1 && strcmp(argv[1], "--wait") == 0) {
        box_waits = true;
        argv++;
        argc--;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("sandbox", tests, box_setup, box_teardown);
}
