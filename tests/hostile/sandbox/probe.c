/* The program that the hostile tests run inside the sandbox. It asks the kernel
 * for things and prints what it was told; the tests know what should stand there. */
#include "probe.h"

#include <stdio.h>
#include <string.h>

void probe_say(const char *name, int errnum)
{
    printf("%s %s\n", name, errnum ? strerrorname_np(errnum) : "ok");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int, char **);
    } probes[] = {
        {"walk", probe_walk},
        {"conditions", probe_conditions},
        {"rights", probe_rights},
        {"life", probe_life},
    };
    for (size_t i = 0; argc > 1 && i < sizeof probes / sizeof probes[0]; i++) {
        if (strcmp(argv[1], probes[i].name) == 0)
            return probes[i].run(argc - 2, argv + 2);
    }
    fprintf(stderr, "usage: probe walk|conditions|rights|life …\n");
    return 2;
}
