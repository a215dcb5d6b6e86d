#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runner/spec/suggest.h"
#include "runner/verbs.h"

#define EXIT_USAGE 2

static int print_help(FILE *out, int code)
{
    fprintf(out, "Usage: kage VERB [ARGUMENT]...\n"
                 "Run the commands of a YAML spec in a virtual machine made for them.\n\n");
    size_t n;
    const struct kage_verb *verbs = kage_verbs(&n);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].help);
    fprintf(out, "\n'kage VERB --help' tells more. 'kage --version' prints the version.\n");
    return fflush(out) != 0 ? EXIT_USAGE : code;
}

static int unknown(const char *name)
{
    struct kage_suggestion s = {0};
    size_t n;
    const struct kage_verb *verbs = kage_verbs(&n);
    for (size_t i = 0; i < n; i++)
        kage_suggest(&s, name, verbs[i].name, verbs[i].name);
    fprintf(stderr, "kage: there is no %s '%s'", name[0] == '-' ? "option" : "verb", name);
    if (s.best)
        fprintf(stderr, "; did you mean '%s'?", s.best);
    fprintf(stderr, "\nTry 'kage --help'.\n");
    return EXIT_USAGE;
}

/* ---- as vmctl ---- */

/* The command lines of the system kage descends from, verbatim: a port is a machine's handle, and
 * `start` prints it. */
static const struct kage_verb seed_verbs[] = {
    {"start", "ROOTFS [--kernel FILE] [--initrd FILE] [--share HOST TAG]", kage_verb_seed_start},
    {"exec", "PORT [--raw] -- COMMAND [ARGUMENT]...", kage_verb_exec},
    {"install", "PORT FILE", kage_verb_install},
    {"web", "PORT [HTTP-PORT]", kage_verb_web},
    {"stop", "PORT", kage_verb_stop},
};

static int vmctl(int argc, char **argv)
{
    size_t n = sizeof(seed_verbs) / sizeof(seed_verbs[0]);

    for (size_t i = 0; argc > 1 && i < n; i++)
        if (strcmp(seed_verbs[i].name, argv[1]) == 0)
            return seed_verbs[i].run(argc - 1, argv + 1);
    bool asked = argc > 1 && (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0);
    FILE *out = asked ? stdout : stderr;
    fprintf(out, "Usage: vmctl COMMAND [ARGUMENT]...\n\n");
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %-8s %s\n", seed_verbs[i].name, seed_verbs[i].help);
    fprintf(out, "\nvmctl is kage under another name; 'kage --help' tells more.\n");
    return asked ? 0 : EXIT_USAGE;
}

/* A descriptor that is closed here would be the next file kage opens, and command output would go
 * into it. What stands in for standard output cannot be written, so that losing output is an error.
 */
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            if (open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) != fd)
                _exit(EXIT_USAGE);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    if (argc > 0 && strcmp(slash ? slash + 1 : argv[0], "vmctl") == 0)
        return vmctl(argc, argv);
    if (argc < 2)
        return print_help(stderr, EXIT_USAGE);
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0)
        return printf("kage %s\n", KAGE_VERSION) < 0 || fflush(stdout) != 0 ? EXIT_USAGE : 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return print_help(stdout, 0);
    if (strcmp(name, "help") == 0) {
        const struct kage_verb *about = argc > 2 ? kage_verb_find(argv[2]) : NULL;
        char *args[] = {argc > 2 ? argv[2] : NULL, (char[]){"--help"}, NULL};
        if (about)
            return about->run(2, args);
        return argc > 2 ? unknown(argv[2]) : print_help(stdout, 0);
    }
    const struct kage_verb *verb = kage_verb_find(name);
    return verb ? verb->run(argc - 1, argv + 1) : unknown(name);
}
