#include "sandbox/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/filters.inc" /* filter_default, filter_strict: see sandbox/compile.h */

int kage_filter_install(enum kage_sandbox_profile profile)
{
    struct sock_fprog prog = {0};
    if (profile == KAGE_SANDBOX_NONE)
        return 0;
    /* The kernel only reads the program; the cast is its header's missing const. */
    if (profile == KAGE_SANDBOX_STRICT) {
        prog.len = sizeof filter_strict / sizeof filter_strict[0];
        prog.filter = (struct sock_filter *)filter_strict;
    } else {
        prog.len = sizeof filter_default / sizeof filter_default[0];
        prog.filter = (struct sock_filter *)filter_default;
    }
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}
