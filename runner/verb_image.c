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
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/image/built.h"
#include "runner/image/download.h"
#include "runner/image/manifest.h"
#include "runner/image/progress.h"
#include "runner/image/remote.h"
#include "runner/image/store.h"
#include "runner/image/tiny.h"
#include "runner/plan/plan.h"
#include "runner/spec/units.h"
#include "runner/verbs.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: kage image ls\n"
    "       kage image build [--kernel stock|lean] [--recipe FILE] [--mirror URL]\n"
    "                        [--suite SUITE] [NAME]\n"
    "       kage image pull [--digest sha256:HEX] [--max-size SIZE] URL\n"
    "       kage image inspect [--json] IMAGE\n"
    "       kage image rm IMAGE|--all\n"
    "Look after the images that machines boot from. They lie in\n"
    "${XDG_CACHE_HOME:-~/.cache}/kage and are built or downloaded when a spec first needs them.\n"
    "IMAGE is a name, a URL, or a folder of the store as ls shows it.\n"
    "\n"
    "  ls       the images that are there; * marks what a name stands for\n"
    "  build    build an image anew from the packages there are now: tiny (the default),\n"
    "           debian-12 or another of kage's recipes, or NAME from a recipe of yours\n"
    "  pull     download an image, or what is left of it, and print its digest\n"
    "  inspect  what an image was made from, its files and digests; checks every byte\n"
    "  rm       remove an image, or with --all everything that is cached\n"
    "\n"
    "  --kernel stock|lean\n"
    "                   build: what it boots with: the distribution's kernel, or a small one\n"
    "                   that is compiled here, once, in about ten minutes\n"
    "  --recipe FILE    build: which packages and files (docs/images.md)\n"
    "  --mirror URL     build: take packages from there\n"
    "  --suite SUITE    build: the release of the distribution, such as bookworm\n"
    "  --digest DIGEST  pull: what the file must have\n"
    "  --max-size SIZE  pull: the most to take, such as 2GiB (default: 64GiB)\n"
    "  --json           inspect: print the image's manifest\n"
    "  -h, --help       show this help\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage.\n";

struct options {
    bool json, all;
    const char *kernel, *recipe, *mirror, *suite, *digest, *max_size;
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
    kage_image_show(what, true);
}

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / (1024 * 1024);
}

static uint64_t size_of(const struct kage_manifest *m)
{
    return m->kernel.size + m->initrd.size + m->rootfs.size;
}

static bool is_url(const char *name)
{
    return strstr(name, "://") != NULL;
}

/* ---- ls ---- */

/* The name in NAME-ID; owned. */
static char *name_in(const char *folder)
{
    const char *dash = strrchr(folder, '-');

    return kage_strndup(folder, dash ? (size_t)(dash - folder) : strlen(folder));
}

/* Whether a spec that names this image would get this folder of it. */
static bool is_current(const struct kage_store *store, const char *entry, const char *folder)
{
    KAGE_CLEANUP(kage_freep) char *name = name_in(entry);
    KAGE_CLEANUP(kage_freep) char *tiny = kage_tiny_folder(store, kage_tiny_default(store));
    KAGE_CLEANUP(kage_freep) char *found = NULL;
    struct kage_manifest m = {0};

    if (!strcmp(folder, tiny))
        return true;
    found = kage_built_find(store, name, &m);
    kage_manifest_done(&m);
    return found && !strcmp(found, folder);
}

static const char *kernel_of(const struct kage_store *store, const struct kage_manifest *m)
{
    return kage_own_kernel_name(kage_tiny_kernel(store, KAGE_OWN_KERNEL_ANY, m));
}

static void list_one(const struct kage_store *store, const char *shown, const char *folder,
                     bool current)
{
    struct kage_manifest m = {0};

    printf("%c %-26s ", current ? '*' : ' ', shown);
    if (kage_manifest_read(folder, &m, NULL) == 0)
        printf("%7.1f MiB  %-5s  %s\n", mebibytes(size_of(&m)), kernel_of(store, &m),
               m.from ? m.from : m.packages);
    else
        printf("   damaged\n");
    kage_manifest_done(&m);
}

static void list_folder(const struct kage_store *store, const char *path, bool named)
{
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        const char *entry = entries[i]->d_name;
        KAGE_CLEANUP(kage_freep) char *folder = kage_asprintf("%s/%s", path, entry);
        KAGE_CLEANUP(kage_freep) char *shown = kage_asprintf("%.24s", entry);

        if (entry[0] != '.')
            list_one(store, named ? entry : shown, folder,
                     !named || is_current(store, entry, folder));
        free(entries[i]);
    }
    free(entries);
}

static int list(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    if (argc)
        return wrong("ls takes no argument");
    list_folder(store, store->images, true);
    list_folder(store, store->downloads, false);
    return flushed();
}

/* ---- build and pull ---- */

/* Builds tiny anew, and remembers the kernel if one was asked for. */
static char *build_tiny(struct kage_store *store, const struct options *o,
                        enum kage_own_kernel kernel, struct kage_manifest *m,
                        struct kage_error *err)
{
    char *folder = kage_tiny_resolve(store, kernel, true, say, NULL, m, err);
    int r;

    if (!folder || !o->kernel)
        return folder;
    r = kage_store_lock(store, say, NULL, err);
    if (r == 0)
        r = kage_tiny_set_default(store, kernel, err);
    kage_store_unlock(store);
    if (r < 0)
        kage_freep(&folder);
    return folder;
}

/* What it boots with is built first, so that a compiler that is missing is told at once. */
static char *build_recipe(struct kage_store *store, const struct kage_built_order *order,
                          enum kage_own_kernel kernel, struct kage_manifest *m,
                          struct kage_error *err)
{
    struct kage_manifest boot = {0};
    KAGE_CLEANUP(kage_freep) char *folder = NULL;

    if (order->boots) {
        folder = kage_tiny_resolve(store, kernel, false, say, NULL, &boot, err);
        kage_manifest_done(&boot);
        if (!folder)
            return NULL;
    }
    return kage_built_build(store, order, say, NULL, m, err);
}

static int build(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    const char *name = argc ? kage_built_full_name(argv[0]) : "tiny";
    bool tiny = !strcmp(name, "tiny");
    struct kage_built_order order = {.name = name,
                                     .recipe = o->recipe,
                                     .mirror = o->mirror,
                                     .suite = o->suite,
                                     .boots = o->kernel};
    int asked = o->kernel ? kage_own_kernel_from(o->kernel) : (int)KAGE_OWN_KERNEL_ANY;
    enum kage_own_kernel kernel;
    KAGE_CLEANUP(kage_freep) char *folder = NULL, *took = NULL;
    struct kage_manifest m = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    uint64_t began = kage_now_ms();

    if (argc > 1)
        return wrong("build takes one name");
    if (!kage_built_name_valid(name))
        return wrong("a name has lower-case letters, digits, '.' and '-'");
    if (tiny && (o->recipe || o->mirror || o->suite))
        return wrong("tiny has no recipe, mirror or suite; give the image another name");
    if (asked < 0)
        return wrong("kage's kernels are stock and lean; a kernel of your own is named by the "
                     "spec, or by 'kage apply --kernel FILE'");
    kernel = kage_tiny_kernel(store, (enum kage_own_kernel)asked, NULL);
    folder = tiny ? build_tiny(store, o, kernel, &m, &err)
                  : build_recipe(store, &order, kernel, &m, &err);
    if (!folder)
        return failed(&err);
    took = kage_duration_text((kage_now_ms() - began + 50) / 100 * 100);
    fprintf(stderr, "kage: built %s in %s: %.1f MiB\n", name, took, mebibytes(size_of(&m)));
    kage_manifest_done(&m);
    printf("%s\n", folder);
    return flushed();
}

static int pull(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    struct kage_remote remote = {.digest = o->digest, .anew = !o->digest};
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    struct kage_manifest m = {0};
    struct kage_error err = KAGE_ERROR_INIT;

    if (argc != 1)
        return wrong("pull takes one URL");
    if (o->max_size && (!kage_parse_size(o->max_size, &remote.max) || !remote.max))
        return wrong("'%s' is not a size, such as 512MiB", o->max_size);
    remote.url = argv[0];
    folder = kage_remote_resolve(store, &remote, say, NULL, &m, &err);
    if (!folder)
        return failed(&err);
    fprintf(stderr, "kage: %.1f MiB, %s\n", mebibytes(size_of(&m)), m.packages);
    printf("sha256:%s\n", m.rootfs.sha256);
    kage_manifest_done(&m);
    return flushed();
}

/* ---- inspect and rm ---- */

static bool holds_image(const char *folder)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/manifest.json", folder);

    return access(path, F_OK) == 0;
}

/* The folder that `name` stands for. Owned; NULL when there is none. */
static char *locate(const struct kage_store *store, const char *name)
{
    const char *const places[] = {store->images, store->downloads};
    struct kage_manifest m = {0};
    char *folder = NULL;

    if (!strcmp(name, "tiny")) {
        folder = kage_tiny_folder(store, kage_tiny_default(store));
    } else if (is_url(name)) {
        folder = kage_remote_folder(store, name, NULL);
    } else if (kage_built_name_valid(name)) {
        folder = kage_built_find(store, kage_built_full_name(name), &m);
        kage_manifest_done(&m);
    }
    if (folder && holds_image(folder))
        return folder;
    kage_freep(&folder);
    /* A folder's own name, of which ls shows the start. */
    for (size_t i = 0; !is_url(name) && i < sizeof places / sizeof *places; i++) {
        DIR *dir = opendir(places[i]);
        struct dirent *entry;

        while (dir && !folder && (entry = readdir(dir)))
            if (entry->d_name[0] != '.' && strlen(name) >= 16 &&
                !strncmp(entry->d_name, name, strlen(name)))
                folder = kage_asprintf("%s/%s", places[i], entry->d_name);
        if (dir)
            closedir(dir);
    }
    return folder;
}

static int not_there(const char *name)
{
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(name, strlen(name));

    if (is_url(name))
        fprintf(stderr, "kage image: %s has not been downloaded; 'kage image pull' does\n", shown);
    else
        fprintf(stderr,
                "kage image: %s has not been built%s; 'kage image build' does, and so does the "
                "first run\n",
                shown, strcmp(name, "tiny") ? "" : " by this version of kage");
    return EXIT_FAILED;
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

static void print_file(const char *what, const struct kage_manifest_file *file)
{
    if (*file->sha256)
        printf("%-9s %6.1f MiB  sha256:%s\n", what, mebibytes(file->size), file->sha256);
}

static void print_human(const struct kage_store *store, const char *folder,
                        const struct kage_manifest *m)
{
    printf("name      %s\n", m->name);
    if (*m->arch)
        printf("arch      %s\n", m->arch);
    printf("folder    %s\n", folder);
    if (m->from)
        printf("from      %s\n", m->from);
    printf("boots     the %s kernel%s\n", kernel_of(store, m), m->boots ? "" : ", as tiny does");
    printf("%s  %s\n", *m->arch ? "packages" : "holds   ", m->packages);
    if (*m->kernel.sha256) {
        KAGE_CLEANUP(kage_freep)
        char *digest = kage_manifest_digest(m->kernel.sha256, m->initrd.sha256);

        printf("digest    %s\n", digest);
    }
    print_file("kernel", &m->kernel);
    print_file("initrd", &m->initrd);
    print_file("rootfs", &m->rootfs);
}

static int inspect(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    struct kage_manifest m = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    int r;

    if (argc != 1)
        return wrong("inspect takes one image");
    folder = locate(store, argv[0]);
    if (!folder)
        return not_there(argv[0]);
    r = kage_manifest_read(folder, &m, &err);
    if (r == 0)
        r = kage_manifest_verify(folder, &m, &err);
    if (r == 0 && o->json)
        r = print_json(folder, &err);
    else if (r == 0)
        print_human(store, folder, &m);
    kage_manifest_done(&m);
    return r < 0 ? failed(&err) : flushed();
}

/* Removes the entries of `folder` that are named `name`-ID, or all. */
static int remove_entries(const char *folder, const char *name, struct kage_error *err)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return kage_error_errno(err, KAGE_CLASS_IMAGE, errno, "cannot read %s", folder);
    while (r == 0 && (entry = readdir(dir))) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("%s/%s", folder, entry->d_name);

        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
            (!name || kage_store_is_named(entry->d_name, name)))
            r = kage_store_remove(path, err);
    }
    closedir(dir);
    return r;
}

static int remove_everything(struct kage_store *store, struct kage_error *err)
{
    const char *const folders[] = {store->images, store->downloads, store->parts, store->kernels,
                                   store->lean};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof folders / sizeof *folders; i++)
        r = remove_entries(folders[i], NULL, err);
    return r;
}

static int discard(struct kage_store *store, int argc, char **argv, const struct options *o)
{
    struct kage_error err = KAGE_ERROR_INIT;
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    const char *name = argc ? kage_built_full_name(argv[0]) : NULL;
    int r;

    if (argc != (o->all ? 0 : 1))
        return wrong("rm takes one image, or --all");
    folder = o->all ? NULL : locate(store, name);
    /* Images that other builds of kage made under the name go too. */
    if (!o->all && !folder && strcmp(name, "tiny"))
        return not_there(name);
    r = kage_store_lock(store, say, NULL, &err);
    /* The choice of a kernel goes with the image that it was made for. */
    if (r == 0 && (o->all || !strcmp(name, "tiny"))) {
        r = kage_tiny_set_default(store, KAGE_OWN_KERNEL_STOCK, &err);
        if (r == 0)
            r = remove_entries(store->images, "tiny-lean", &err);
    }
    if (r == 0 && o->all)
        r = remove_everything(store, &err);
    else if (r == 0 && !is_url(name) && kage_built_name_valid(name))
        r = remove_entries(store->images, name, &err);
    if (r == 0 && folder)
        r = kage_store_remove(folder, &err);
    return r < 0 ? failed(&err) : EXIT_DONE;
}

/* ---- the verb ---- */

static const struct action {
    const char *name;
    int (*run)(struct kage_store *store, int argc, char **argv, const struct options *o);
    const char *options; /* letters of those it takes */
} actions[] = {
    {"ls", list, ""},          {"build", build, "krms"}, {"pull", pull, "dM"},
    {"inspect", inspect, "j"}, {"rm", discard, "a"},
};

static const struct option longs[] = {
    {"json", no_argument, NULL, 'j'},         {"all", no_argument, NULL, 'a'},
    {"kernel", required_argument, NULL, 'k'}, {"recipe", required_argument, NULL, 'r'},
    {"mirror", required_argument, NULL, 'm'}, {"suite", required_argument, NULL, 's'},
    {"digest", required_argument, NULL, 'd'}, {"max-size", required_argument, NULL, 'M'},
    {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
};

static const char *option_name(int letter)
{
    for (size_t i = 0; longs[i].name; i++)
        if (longs[i].val == letter)
            return longs[i].name;
    return "?";
}

/* Puts the letters of the given options into `given`. Returns 0, 1 for --help, or -1. */
static int parse(int argc, char **argv, struct options *o, char *given)
{
    size_t n = 0;

    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        const char **text = c == 'k'   ? &o->kernel
                            : c == 'r' ? &o->recipe
                            : c == 'm' ? &o->mirror
                            : c == 's' ? &o->suite
                            : c == 'd' ? &o->digest
                            : c == 'M' ? &o->max_size
                                       : NULL;

        if (c == 'h')
            return 1;
        if (c == ':' || c == '?') {
            wrong(c == ':' ? "option '%s' needs a value" : "there is no option '%s'",
                  argv[optind - 1]);
            return -1;
        }
        o->json |= c == 'j';
        o->all |= c == 'a';
        if (text)
            *text = optarg;
        if (!strchr(given, c))
            given[n++] = (char)c;
    }
    return 0;
}

int kage_verb_image(int argc, char **argv)
{
    struct kage_store store = KAGE_STORE_INIT;
    struct kage_error err = KAGE_ERROR_INIT;
    const struct action *action = NULL;
    struct options o = {0};
    char given[sizeof longs / sizeof *longs] = "";
    int r = parse(argc, argv, &o, given);

    if (r < 0)
        return EXIT_USAGE;
    if (r > 0) {
        fputs(usage, stdout);
        return flushed();
    }
    if (optind >= argc)
        return wrong("ls, build, pull, inspect or rm?");
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(argv[optind], actions[i].name))
            action = &actions[i];
    if (!action)
        return wrong("there is no '%s'", argv[optind]);
    for (const char *c = given; *c; c++)
        if (!strchr(action->options, *c))
            return wrong("%s does not take --%s", action->name, option_name(*c));
    if (kage_store_open(&store, &err) < 0)
        return failed(&err);
    r = action->run(&store, argc - optind - 1, argv + optind + 1, &o);
    kage_store_done(&store);
    return r;
}
