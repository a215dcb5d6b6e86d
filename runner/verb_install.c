#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/copy/copy.h"
#include "runner/copy/pack.h"
#include "runner/session/exec.h"
#include "runner/verbs.h"
#include "runner/vm/registry.h"

#define FOLDER "usr/local/bin"

static const char help[] =
    "usage: kage install [options] VM FILE\n"
    "\n"
    "Copies a program into /usr/local/bin of a machine and makes it executable. One of the same "
    "name\n"
    "is replaced in one step: it is never there in part, and who runs the old one keeps it.\n"
    "\n"
    "options:\n"
    "  --name NAME  what it is called there (default: as here)\n"
    "  -h, --help   show this help\n"
    "\n"
    "exit code: 0, 1 if it was not installed, 125 if the machine could not be reached.\n";

#define USAGE(...) (kage_usage("install", __VA_ARGS__), KAGE_EXEC_NO_VERDICT)

/* A frame holds 16 MiB and programs may be larger, so it goes as an archive beside the final name,
 * which it then takes. */
static int install(const struct kage_vm *vm, const char *file, const char *name)
{
    KAGE_CLEANUP(kage_freep) char *part = kage_asprintf(FOLDER "/.%s.kage-part", name);
    KAGE_CLEANUP(kage_freep) char *from = kage_asprintf("/%s", part);
    KAGE_CLEANUP(kage_freep) char *to = kage_asprintf("/" FOLDER "/%s", name);
    const struct kage_copy c = {.vm = vm, .verb = "install"};
    const struct kage_pack what = {
        .source = file, .top = part, .follow = true, .mode = 0755, .only_file = true};
    char *move[] = {(char *)"-f", (char *)"-T", from, to};
    char *remove[] = {(char *)"-f", from};
    int code = kage_copy_pack_in(&c, &what, "/");

    if (code == 0)
        code = kage_copy_applet(&c, "mv", move, 4, false);
    if (code != 0 && code != KAGE_EXEC_NO_VERDICT)
        kage_copy_applet(&c, "rm", remove, 2, true);
    return code;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int kage_verb_install(int argc, char **argv)
{
    static const struct option longs[] = {
        {"name", required_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {0}};
    struct kage_error err = KAGE_ERROR_INIT;
    const char *name = NULL;
    struct kage_vm vm = {0};
    int o, code;

    opterr = 0;
    optind = 0;
    while ((o = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
        switch (o) {
        case 'n':
            name = optarg;
            break;
        case 'h':
            return kage_written(fputs(help, stdout) < 0);
        case ':':
            return USAGE("option '%s' needs a value", argv[optind - 1]);
        default:
            return USAGE("unknown option '%s'", argv[optind - 1]);
        }
    }
    if (argc - optind != 2)
        return USAGE("which machine, and which file?");
    if (!name)
        name = last_part(argv[optind + 1]);
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        return USAGE("'%s' cannot be the name of a program", name);
    if (kage_vm_find_running(argv[optind], &vm, &err) < 0) {
        fprintf(stderr, "kage install: %s\n", err.message);
        kage_error_done(&err);
        return KAGE_EXEC_NO_VERDICT;
    }
    code = install(&vm, argv[optind + 1], name);
    kage_vm_done(&vm);
    return code;
}
