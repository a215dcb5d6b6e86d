#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/image/image.h"
#include "runner/image/progress.h"
#include "runner/job.h"
#include "runner/plan/parts.h"
#include "runner/report/result.h"
#include "runner/spec/fields.h"
#include "runner/verbs.h"
#include "runner/vm/owner.h"

#define EXIT_NO_VERDICT 125

static const char help[] =
    "usage: kage start [options] IMAGE|SPEC\n"
    "\n"
    "Starts a machine that stays, and prints its id. IMAGE is an image of the store (`kage image\n"
    "ls`) or the file of a root file system; SPEC is a file that ends in .yaml or .yml: its "
    "machine,\n"
    "users and mounts are made, its commands are not run.\n"
    "\n"
    "options:\n"
    "  --name NAME            what to call it (default: the spec's name, or the image's)\n"
    "  --kernel KERNEL        kernel to boot: lean or stock, which are kage's own, or a file "
    "(default\n"
    "                         for a root file system: vmlinuz beside it)\n"
    "  --initrd FILE          initramfs of that kernel (default: kage's own)\n"
    "  --share HOST TAG       share the folder HOST read-only at /mnt/TAG; TAG:rw makes it "
    "writable\n"
    "  --memory SIZE          such as 1GiB (default: 512MiB)\n"
    "  --cpus N               (default: 1)\n"
    "  --disk SIZE            an empty scratch disk\n"
    "  --network              let the machine connect out\n"
    "  -q, --quiet            no progress lines\n"
    "  -h, --help             show this help\n"
    "\n"
    "Only --name, --kernel, --initrd and --quiet go with a SPEC: it says the rest.\n"
    "`kage exec`, `kage shell` and `kage web` use the machine, `kage stop` ends it.\n";

struct share {
    const char *host, *tag;
};

struct options {
    const char *what, *name, *kernel, *initrd, *memory, *cpus, *disk;
    struct share *shares;
    size_t n_shares;
    bool network, quiet, help;
    bool seed; /* called as vmctl: shares are writable, the port is printed */
};

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"name", required_argument, NULL, 'n'},
        {"kernel", required_argument, NULL, 'k'},
        {"initrd", required_argument, NULL, 'i'},
        {"share", required_argument, NULL, 's'},
        {"memory", required_argument, NULL, 'm'},
        {"cpus", required_argument, NULL, 'c'},
        {"disk", required_argument, NULL, 'd'},
        {"network", no_argument, NULL, 'N'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;

    optind = 1;
    opterr = 0;
    o->shares = kage_alloc((size_t)argc * sizeof *o->shares);
    while ((c = getopt_long(argc, argv, ":qh", longs, NULL)) != -1) {
        switch (c) {
        case 'n':
            o->name = optarg;
            break;
        case 'k':
            o->kernel = optarg;
            break;
        case 'i':
            o->initrd = optarg;
            break;
        case 's':
            if (optind >= argc)
                return kage_usage("start", "--share needs a folder and a tag");
            o->shares[o->n_shares++] = (struct share){.host = optarg, .tag = argv[optind++]};
            break;
        case 'm':
            o->memory = optarg;
            break;
        case 'c':
            o->cpus = optarg;
            break;
        case 'd':
            o->disk = optarg;
            break;
        case 'N':
            o->network = true;
            break;
        case 'q':
            o->quiet = true;
            break;
        case 'h':
            o->help = true;
            return 0;
        case ':':
            return kage_usage("start", "option '%s' needs a value", argv[optind - 1]);
        default:
            return kage_usage("start", "unknown option '%s'", argv[optind - 1]);
        }
    }
    if (optind >= argc)
        return kage_usage("start", "which image or spec?");
    if (optind + 1 < argc)
        return kage_usage("start", "one machine at a time; '%s' is one too many", argv[optind + 1]);
    if (o->name && !kage_forms[KAGE_FORM_NAME].match(o->name)) {
        KAGE_CLEANUP(kage_freep) char *name = kage_printable(o->name, strlen(o->name));

        return kage_usage("start", "'%s' is not %s: %s", name, kage_forms[KAGE_FORM_NAME].what,
                          kage_forms[KAGE_FORM_NAME].help);
    }
    if (o->initrd && !o->kernel)
        return kage_usage("start", "--initrd goes with --kernel");
    o->what = argv[optind];
    return 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

/* ---- a spec of the command line ---- */

/* A double-quoted YAML scalar is a JSON string; bytes that are not UTF-8 are refused on reading. */
static void put_quoted(struct kage_buf *out, const char *s)
{
    kage_buf_addc(out, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            kage_buf_addf(out, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            kage_buf_addf(out, "\\x%02x", (unsigned char)*s);
        else
            kage_buf_addc(out, *s);
    }
    kage_buf_addc(out, '"');
}

/* The seed's rule: kernel and initramfs are looked for beside the root file system. */
static void put_image(struct kage_buf *out, const char *image)
{
    const char *slash = strrchr(image, '/');
    KAGE_CLEANUP(kage_freep)
    char *kernel =
        kage_asprintf("%.*s%svmlinuz", (int)(slash ? slash - image : 0), image, slash ? "/" : "");

    kage_buf_adds(out, "image: ");
    if (!slash && access(image, F_OK) != 0) {
        put_quoted(out, image);
    } else if (access(kernel, R_OK) == 0) {
        kage_buf_adds(out, "{kernel: ");
        put_quoted(out, kernel);
        kage_buf_adds(out, ", rootfs: ");
        put_quoted(out, image);
        kage_buf_addc(out, '}');
    } else {
        kage_buf_adds(out, "{path: ");
        put_quoted(out, image);
        kage_buf_addc(out, '}');
    }
    kage_buf_addc(out, '\n');
}

static void put_machine(struct kage_buf *out, const struct options *o)
{
    const struct {
        const char *key, *value;
    } fields[] = {{"memory", o->memory}, {"cpus", o->cpus}, {"disk", o->disk}};

    kage_buf_adds(out, "machine:\n  accel: auto\n");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value)
            kage_buf_addf(out, "  %s: %s\n", fields[i].key, fields[i].value);
    kage_buf_addf(out, "network: %s\n", o->network ? "on" : "off");
}

static void put_shares(struct kage_buf *out, const struct options *o)
{
    kage_buf_adds(out, o->n_shares ? "shares:\n" : "");
    for (size_t i = 0; i < o->n_shares; i++) {
        const struct share *s = &o->shares[i];
        bool writable = ends_with(s->tag, ":rw") || (o->seed && !ends_with(s->tag, ":ro"));
        int len = (int)strcspn(s->tag, ":");

        kage_buf_addf(out, "  %.*s: {path: ", len, s->tag);
        put_quoted(out, s->host);
        kage_buf_addf(out, ", writable: %s}\n", writable ? "true" : "false");
    }
    kage_buf_adds(out, o->n_shares ? "mounts:\n" : "");
    for (size_t i = 0; i < o->n_shares; i++) {
        int len = (int)strcspn(o->shares[i].tag, ":");

        kage_buf_addf(out, "  - {type: share, source: %.*s, target: /mnt/%.*s}\n", len,
                      o->shares[i].tag, len, o->shares[i].tag);
    }
}

/* Letters of a share's or a machine's name that a spec takes; a colon ends a tag. */
static bool plain(const char *s)
{
    return *s &&
           s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] ==
               '\0';
}

static int check_words(const struct options *o)
{
    const char *words[] = {o->memory, o->cpus, o->disk};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i] && !plain(words[i]))
            return kage_usage("start", "'%s' is not a number or size", words[i]);
    for (size_t i = 0; i < o->n_shares; i++) {
        KAGE_CLEANUP(kage_freep)
        char *tag = kage_strndup(o->shares[i].tag, strcspn(o->shares[i].tag, ":"));
        const char *mode = o->shares[i].tag + strlen(tag);

        if (!plain(tag) || (*mode && strcmp(mode, ":rw") != 0 && strcmp(mode, ":ro") != 0))
            return kage_usage("start",
                              "'%s' is not a tag: letters, digits, '-', then ':rw' or ':ro'",
                              o->shares[i].tag);
    }
    return 0;
}

static char *spec_text(const struct options *o)
{
    struct kage_buf text = {0};

    kage_buf_adds(&text, "version: 1\nname: machine\n");
    put_image(&text, o->what);
    put_machine(&text, o);
    put_shares(&text, o);
    kage_buf_adds(&text, "commands:\n  - exec: [\"true\"]\n");
    return kage_buf_take(&text);
}

/* ---- the verb ---- */

static void on_progress(const char *what, void *user)
{
    const struct options *o = user;

    if (!o->quiet)
        kage_image_show(what, false);
}

static char *image_name(const struct kage_spec_image *image)
{
    const char *file = image->name     ? image->name
                       : image->rootfs ? image->rootfs
                       : image->path   ? image->path
                       : image->url    ? image->url
                                       : image->kernel;
    const char *slash = file ? strrchr(file, '/') : NULL;
    const char *base = slash ? slash + 1 : file ? file : "?";

    return kage_printable(base, strlen(base));
}

/* Can the guest connect out? A user network without restrict=on lets it. */
static bool connects_out(const struct kage_plan *plan)
{
    for (size_t i = 0; i + 1 < plan->n_args; i++)
        if (!strcmp(plan->args[i].text, "-netdev") &&
            !strstr(plan->args[i + 1].text, "restrict=on"))
            return true;
    return false;
}

static int start(struct options *o, struct kage_vm *vm, struct kage_error *err)
{
    bool from_spec = ends_with(o->what, ".yaml") || ends_with(o->what, ".yml");
    KAGE_CLEANUP(kage_freep) char *text = from_spec ? NULL : spec_text(o);
    struct kage_job job = {.spec = from_spec ? o->what : "(command line)",
                           .text = text,
                           .kernel = o->kernel,
                           .initrd = o->initrd,
                           .no_commands = true,
                           .stays = true};
    struct kage_image_files files = {0};
    struct kage_plan *plan = NULL;
    int r = kage_job_plan(&job, &plan, err);

    if (r > 0)
        r = kage_error_set(err, KAGE_CLASS_SPEC, "nothing was started");
    if (r == 0)
        r = kage_image_resolve(&plan->image, plan->arch, on_progress, o, &files, err);
    if (r == 0) {
        vm->image = image_name(&plan->image);
        vm->name = kage_strdup(o->name ? o->name : from_spec ? plan->name : vm->image);
        vm->spec = from_spec ? realpath(o->what, NULL) : NULL;
        vm->accel = kage_strdup(kage_accel_name(plan->accel));
        vm->network = connects_out(plan);
        on_progress("booting", o);
        r = kage_vm_start(plan, &files, vm, err);
    }
    kage_image_files_done(&files);
    kage_plan_free(plan);
    return r;
}

/* A machine whose handle is lost could not be used; it stays all the same, since it is up. */
static int print_handle(const struct kage_vm *vm, bool seed)
{
    if (seed)
        printf("%u\n", vm->port);
    else
        printf("%s\n", vm->id);
    if (kage_written(0) == 0)
        return 0;
    fprintf(stderr, "kage: machine %s (%s) is up all the same; `kage stop %s` ends it\n", vm->id,
            vm->name, vm->id);
    return EXIT_NO_VERDICT;
}

static int verb_start(int argc, char **argv, bool seed)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct options o = {.seed = seed, .network = seed};
    struct kage_vm vm = {0};
    int code = 0;

    if (parse(argc, argv, &o) < 0 || (!o.help && check_words(&o) < 0)) {
        code = EXIT_NO_VERDICT;
    } else if (o.help) {
        fputs(help, stdout);
        code = kage_written(0);
    } else if (start(&o, &vm, &err) < 0) {
        fprintf(stderr, "kage: %s\n", err.message);
        code = kage_result_exit_code(err.class, 0, err.signal);
    } else {
        code = print_handle(&vm, seed);
    }
    kage_vm_done(&vm);
    kage_error_done(&err);
    free(o.shares);
    return code;
}

int kage_verb_start(int argc, char **argv)
{
    return verb_start(argc, argv, false);
}

int kage_verb_seed_start(int argc, char **argv)
{
    return verb_start(argc, argv, true);
}
