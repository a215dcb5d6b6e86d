#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/image/manifest.h"
#include "runner/image/store.h"
#include "runner/image/tiny.h"
#include "runner/verbs.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: kage image ls\n"
    "       kage image build [tiny]\n"
    "       kage image inspect [--json] tiny\n"
    "       kage image rm tiny|--all\n"
    "Look after the images that machines boot from. They lie in\n"
    "${XDG_CACHE_HOME:-~/.cache}/kage and are built when a spec first needs them.\n"
    "\n"
    "  ls       the images that are there; * marks what this kage uses\n"
    "  build    build the image anew, from the packages apt now offers\n"
    "  inspect  what an image was made from, its files and digests; checks every byte\n"
    "  rm       remove an image, or with --all everything that is cached\n"
    "\n"
    "  --json      inspect: print the image's manifest\n"
    "  -h, --help  show this help\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage.\n";

struct options {
    bool json, all;
};

static int wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int wrong(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("kage image: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputs("\nTry 'kage image --help'.\n", stderr);
    va_end(ap);
    return EXIT_USAGE;
}

static int failed(struct kage_error *err)
{
    fprintf(stderr, "kage image: %s\n", err->message ? err->message : "failed");
    kage_error_done(err);
    return EXIT_FAILED;
}

static int flushed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_DONE;
    perror("kage image: cannot write");
    return EXIT_FAILED;
}

static void say(const char *what, void *user)
{
    fprintf(stderr, "kage: %s\n", what);
}

/* The only name there is so far. Returns 0 or EXIT_USAGE. */
static int check_name(const char *name)
{
    return strcmp(name, "tiny") ? wrong("no image named '%s'; known: tiny", name) : 0;
}

static void print_size(uint64_t bytes)
{
    printf("%6.1f MiB", (double)bytes / (1024 * 1024));
}

static int list(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    KAGE_CLEANUP(kage_freep) char *current = kage_tiny_folder(store);
    struct dirent **entries = NULL;
    int n;

    if (argc)
        return wrong("ls takes no argument");
    n = scandir(store->images, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        KAGE_CLEANUP(kage_freep)
        char *folder = kage_asprintf("%s/%s", store->images, entries[i]->d_name);
        struct kage_manifest m = {0};

        if (entries[i]->d_name[0] != '.') {
            printf("%c %-24s ", strcmp(folder, current) ? ' ' : '*', entries[i]->d_name);
            if (kage_manifest_read(folder, &m, NULL) == 0) {
                print_size(m.kernel.size + m.initrd.size);
                printf("  %s\n", m.packages);
            } else {
                printf("   damaged\n");
            }
            kage_manifest_done(&m);
        }
        free(entries[i]);
    }
    free(entries);
    return flushed();
}

static int build(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    struct kage_manifest m = {0};
    struct kage_error err = KAGE_ERROR_INIT;

    if (argc > 1)
        return wrong("build takes one name");
    if (argc == 1 && check_name(argv[0]))
        return EXIT_USAGE;
    folder = kage_tiny_resolve(store, true, say, NULL, &m, &err);
    if (!folder)
        return failed(&err);
    kage_manifest_done(&m);
    printf("%s\n", folder);
    return flushed();
}

static int print_json(const char *folder, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/manifest.json", folder);
    FILE *f = fopen(path, "re");
    char chunk[4096];
    size_t n;

    if (!f)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read %s", path);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        fwrite(chunk, 1, n, stdout);
    fclose(f);
    return 0;
}

static void print_human(const char *folder, const struct kage_manifest *m)
{
    KAGE_CLEANUP(kage_freep)
    char *digest = kage_manifest_digest(m->kernel.sha256, m->initrd.sha256);

    printf("name      %s\n", m->name);
    printf("arch      %s\n", m->arch);
    printf("folder    %s\n", folder);
    printf("packages  %s\n", m->packages);
    printf("digest    %s\n", digest);
    printf("kernel    ");
    print_size(m->kernel.size);
    printf("  sha256:%s\ninitrd    ", m->kernel.sha256);
    print_size(m->initrd.size);
    printf("  sha256:%s\n", m->initrd.sha256);
}

static int inspect(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    KAGE_CLEANUP(kage_freep) char *folder = kage_tiny_folder(store);
    struct kage_manifest m = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    int r;

    if (argc != 1)
        return wrong("inspect takes one name");
    if (check_name(argv[0]))
        return EXIT_USAGE;
    if (access(folder, F_OK) < 0) {
        fprintf(stderr, "kage image: tiny has not been built by this version of kage; "
                        "'kage image build' does, and so does the first run\n");
        return EXIT_FAILED;
    }
    r = kage_manifest_read(folder, &m, &err);
    if (r == 0)
        r = kage_manifest_verify(folder, &m, &err);
    if (r == 0 && o->json)
        r = print_json(folder, &err);
    else if (r == 0)
        print_human(folder, &m);
    kage_manifest_done(&m);
    return r < 0 ? failed(&err) : flushed();
}

/* Removes the entries of `folder` whose names start with `prefix`. */
static int remove_all(const char *folder, const char *prefix, struct kage_error *err)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read %s", folder);
    while (r == 0 && (entry = readdir(dir))) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, entry->d_name);

        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
            !strncmp(entry->d_name, prefix, strlen(prefix)))
            r = kage_store_remove(path, err);
    }
    closedir(dir);
    return r;
}

static int discard(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    struct kage_error err = KAGE_ERROR_INIT;
    int r;

    if (argc != (o->all ? 0 : 1))
        return wrong("rm takes one name, or --all");
    if (!o->all && check_name(argv[0]))
        return EXIT_USAGE;
    r = kage_store_lock(store, say, NULL, &err);
    if (r == 0)
        r = remove_all(store->images, o->all ? "" : "tiny-", &err);
    if (r == 0 && o->all)
        r = remove_all(store->parts, "", &err);
    if (r == 0 && o->all)
        r = remove_all(store->kernels, "", &err);
    return r < 0 ? failed(&err) : EXIT_DONE;
}

static const struct action {
    const char *name;
    int (*run)(struct kage_store *store, int argc, char **argv, const struct options *o);
} actions[] = {
    {"ls", list},
    {"build", build},
    {"inspect", inspect},
    {"rm", discard},
};

int kage_verb_image(int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'},
        {"all", no_argument, NULL, 'a'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct kage_store store = KAGE_STORE_INIT;
    struct kage_error err = KAGE_ERROR_INIT;
    const struct action *action = NULL;
    struct options o = {0};
    int r;

    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        switch (c) {
        case 'j':
            o.json = true;
            break;
        case 'a':
            o.all = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return flushed();
        default:
            return wrong("there is no option '%s'", argv[optind - 1]);
        }
    }
    if (optind >= argc)
        return wrong("ls, build, inspect or rm?");
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(argv[optind], actions[i].name))
            action = &actions[i];
    if (!action)
        return wrong("there is no '%s'", argv[optind]);
    if ((o.json && action->run != inspect) || (o.all && action->run != discard))
        return wrong("%s does not take --%s", action->name, o.json ? "json" : "all");
    if (kage_store_open(&store, &err) < 0)
        return failed(&err);
    r = action->run(&store, argc - optind - 1, argv + optind + 1, &o);
    kage_store_done(&store);
    return r;
}
