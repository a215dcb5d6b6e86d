#include "sandbox/launch.h"
#include "sandbox/options.h"
#include "sandbox/report.h"

int main(int argc, char **argv)
{
    /* Static: the list of groups alone is a kilobyte of stack. */
    static struct kage_sandbox_options options;
    const char *why;
    const char *arg;
    if (kage_sandbox_options_parse(argc, argv, &options, &why, &arg) < 0)
        return kage_report_usage(options.status_fd, why, arg);
    if (options.help)
        return kage_report_help(kage_sandbox_usage);
    return kage_sandbox_run(&options);
}
