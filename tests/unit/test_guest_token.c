#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/token.h"

#define TOKEN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int file_with(const char *text)
{
    int fd = memfd_create("token", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void accepts_the_token_only(void **state)
{
    int fd = file_with(TOKEN);

    assert_true(kage_token_matches(fd, TOKEN));
    assert_true(kage_token_matches(fd, TOKEN)); /* the file position does not matter */
    assert_false(kage_token_matches(fd, NULL));
    assert_false(kage_token_matches(fd, ""));
    assert_false(kage_token_matches(fd, TOKEN "0"));
    assert_false(kage_token_matches(fd, &TOKEN[1]));
    assert_false(
        kage_token_matches(fd, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee"));
    close(fd);
}

static void takes_a_line(void **state)
{
    int fd = file_with(TOKEN "\n");

    assert_true(kage_token_matches(fd, TOKEN));
    close(fd);
}

static void follows_the_file(void **state)
{
    int fd = file_with(TOKEN);
    static const char other[] = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    assert_int_equal(pwrite(fd, other, 64, 0), 64);
    assert_false(kage_token_matches(fd, TOKEN));
    assert_true(kage_token_matches(fd, other));
    close(fd);
}

static void a_bad_file_lets_nobody_in(void **state)
{
    static const char *const bad[] = {
        "",          "\n",
        TOKEN "0",   TOKEN "\n\n",
        "short",     "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        TOKEN TOKEN, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = file_with(bad[i]);

        assert_false(kage_token_matches(fd, bad[i]));
        assert_false(kage_token_matches(fd, TOKEN));
        assert_false(kage_token_matches(fd, ""));
        close(fd);
    }
    assert_false(kage_token_matches(-1, TOKEN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_the_token_only),
        cmocka_unit_test(takes_a_line),
        cmocka_unit_test(follows_the_file),
        cmocka_unit_test(a_bad_file_lets_nobody_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
