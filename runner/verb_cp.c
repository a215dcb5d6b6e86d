#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/copy/copy.h"
#include "runner/session/exec.h"
#include "runner/spec/units.h"
#include "runner/verbs.h"
#include "runner/vm/registry.h"

#define DEFAULT_MAX_SIZE ((uint64_t)4 << 30)

static const char help[] =
    "usage: kage cp [options] FILE... VM:PATH\n"
    "       kage cp [options] VM:PATH... FILE\n"
    "\n"
    "Copies files and folders into a machine or out of it, with modes, times and links. VM is an\n"
    "id, name or port; a name of the host with a colon in it is written ./NAME. Into a folder "
    "that\n"
    "is there, things are copied under their own names (SOURCE/. stands for what is in SOURCE);\n"
    "otherwise the last argument is the copy's name. '-' instead of FILE is a tar archive, read\n"
    "from standard input and unpacked in the folder PATH, or written to standard output.\n"
    "\n"
    "What comes out of a machine is not trusted: it cannot reach outside of the target, sockets,\n"
    "FIFOs and devices are left out, and set-id bits are dropped.\n"
    "\n"
    "options:\n"
    "  -L, --follow-link  copy what links point to instead of the links\n"
    "  -u, --user NAME    read or write as this user of the guest (root)\n"
    "  --max-size SIZE    the most that may come out of a machine: bytes, and 4 KiB for each\n"
    "                     file (4GiB)\n"
    "  -h, --help         show this help\n"
    "\n"
    "exit code: 0, 1 if something was not copied, 125 if the machine could not be reached.\n";

#define USAGE(...) (kage_usage("cp", __VA_ARGS__), KAGE_EXEC_NO_VERDICT)

/* "VM:PATH" taken apart; a path of the host has a slash before its first colon. */
struct side {
    char *vm; /* owned; NULL: the host */
    const char *path;
};

static struct side side_of(const char *arg)
{
    const char *colon = strchr(arg, ':');

    if (!colon || colon == arg || memchr(arg, '/', (size_t)(colon - arg)))
        return (struct side){.path = arg};
    return (struct side){.vm = kage_strndup(arg, (size_t)(colon - arg)), .path = colon + 1};
}

static int copy_with(struct kage_copy *c, const char *handle, const struct side *source,
                     const struct side *target)
{
    bool tar = !strcmp(handle == source->vm ? target->path : source->path, "-");
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_vm vm = {0};
    int code;

    if (kage_vm_find_running(handle, &vm, &err) < 0) {
        fprintf(stderr, "kage cp: %s\n", err.message);
        kage_error_done(&err);
        return KAGE_EXEC_NO_VERDICT;
    }
    c->vm = &vm;
    if (handle == source->vm)
        code =
            tar ? kage_copy_tar_out(c, source->path) : kage_copy_out(c, source->path, target->path);
    else
        code =
            tar ? kage_copy_tar_in(c, target->path) : kage_copy_in(c, source->path, target->path);
    kage_vm_done(&vm);
    return code;
}

static int copy_one(struct kage_copy *c, const char *from, const struct side *target)
{
    struct side source = side_of(from);
    int code;

    if (source.vm && target->vm)
        code = USAGE("from one machine to another is not possible; copy to the host in between");
    else if (!source.vm && !target->vm)
        code = USAGE("neither '%s' nor '%s' is in a machine (VM:PATH)", from, target->path);
    else
        code = copy_with(c, source.vm ? source.vm : target->vm, &source, target);
    free(source.vm);
    return code;
}

/* Several things need a folder to go to, or the last one would be all that is left. */
static char *folder_form(const char *path)
{
    size_t n = strlen(path);

    return n && path[n - 1] == '/' ? kage_asprintf("%s.", path) : kage_asprintf("%s/.", path);
}

static int copy_all(struct kage_copy *c, char **sources, int n, const char *to)
{
    struct side target = side_of(to);
    KAGE_CLEANUP(kage_freep) char *folder = n > 1 ? folder_form(target.path) : NULL;
    int code = 0;

    if (folder && strcmp(target.path, "-") != 0)
        target.path = folder;
    else if (folder)
        code = USAGE("one thing at a time goes to standard output");
    for (int i = 0; i < n && code == 0; i++)
        code = copy_one(c, sources[i], &target);
    free(target.vm);
    return code;
}

int kage_verb_cp(int argc, char **argv)
{
    enum { MAX_SIZE = 256 };
    static const struct option longs[] = {{"follow-link", no_argument, NULL, 'L'},
                                          {"user", required_argument, NULL, 'u'},
                                          {"max-size", required_argument, NULL, MAX_SIZE},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct kage_copy c = {.max_size = DEFAULT_MAX_SIZE, .verb = "cp"};
    int o;

    opterr = 0;
    optind = 0;
    while ((o = getopt_long(argc, argv, ":Lu:h", longs, NULL)) != -1) {
        switch (o) {
        case 'L':
            c.follow = true;
            break;
        case 'u':
            c.user = optarg;
            break;
        case MAX_SIZE:
            if (!kage_parse_size(optarg, &c.max_size) || !c.max_size)
                return USAGE("--max-size takes a size such as 512MiB, not '%s'", optarg);
            break;
        case 'h':
            return kage_written(fputs(help, stdout) < 0);
        case ':':
            return USAGE("option '%s' needs a value", argv[optind - 1]);
        default:
            return USAGE("unknown option '%s'", argv[optind - 1]);
        }
    }
    if (argc - optind < 2)
        return USAGE("what should be copied, and where to?");
    return copy_all(&c, argv + optind, argc - optind - 1, argv[argc - 1]);
}
