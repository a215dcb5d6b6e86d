#include "sandbox/launch.h"
#include "sandbox/options.h"
#include "sandbox/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int usage_error(const struct kage_sandbox_options *o, const char *why, const char *arg)
{
    if (o->status_fd >= 0)
        kage_report(o->status_fd, KAGE_SANDBOX_SETUP_FAILED, EINVAL, why);
    else
        fprintf(stderr, "sandbox-helper: %s%s%s\nTry 'sandbox-helper --help'.\n", arg ? arg : "",
                arg ? ": " : "", why);
    return KAGE_EXIT_SETUP;
}

int main(int argc, char **argv)
{
    /* Static: the list of groups alone is a kilobyte of stack. */
    static struct kage_sandbox_options options;
    const char *why;
    const char *arg;
    if (kage_sandbox_options_parse(argc, argv, &options, &why, &arg) < 0)
        return usage_error(&options, why, arg);
    if (options.help)
        return fputs(kage_sandbox_usage, stdout) < 0 || fflush(stdout) < 0 ? KAGE_EXIT_SETUP
                                                                           : EXIT_SUCCESS;
    return kage_sandbox_run(&options);
}
