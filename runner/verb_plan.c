#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "runner/job.h"
#include "runner/plan/plan.h"
#include "runner/verbs.h"

/* As `kage check` has them, and 125 where only this machine is in the way. */
#define EXIT_FINDINGS 1
#define EXIT_USAGE 2
#define EXIT_NO_VERDICT 125

static const char help[] =
    "usage: kage plan [options] FILE\n"
    "\n"
    "Prints what `kage apply FILE` would do, without doing it: QEMU's command line and the frames\n"
    "sent to the guest, each with the line of the spec it comes from. '-' is standard input.\n"
    "\n"
    "options:\n"
    "  --format human|json  json can be kept and run with `kage apply --plan`; the same spec on "
    "the\n"
    "                       same kind of host gives the same bytes (default: human)\n"
    "  --host FILE          plan for the host this JSON file describes instead of this machine:\n"
    "                       {\"os\": \"linux\", \"arch\": \"x86_64\", \"accelerators\": "
    "[\"kvm\"]}\n"
    "  --kernel KERNEL      boot this kernel: lean or stock, which are kage's own, or a file\n"
    "  --matrix AXIS=VALUE  only the jobs with this value; can be given again\n"
    "  --initrd FILE        with --kernel: use this initramfs instead of kage's own\n"
    "  -h, --help           show this help\n"
    "\n"
    "exit code: 0 planned, 1 the spec has errors, 2 wrong usage or an unreadable file, 125 this "
    "host\n"
    "cannot run the spec.\n";

struct options {
    const char *spec, *host, *kernel, *initrd;
    char *choices[16];
    size_t n_choices;
    bool json, help;
};

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"format", required_argument, NULL, 'f'},
        {"host", required_argument, NULL, 'H'},
        {"kernel", required_argument, NULL, 'k'},
        {"initrd", required_argument, NULL, 'i'},
        {"matrix", required_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
        switch (c) {
        case 'f':
            if (strcmp(optarg, "human") != 0 && strcmp(optarg, "json") != 0)
                return kage_usage(argv[0], "--format is human or json, not '%s'", optarg);
            o->json = strcmp(optarg, "json") == 0;
            break;
        case 'H':
            o->host = optarg;
            break;
        case 'k':
            o->kernel = optarg;
            break;
        case 'i':
            o->initrd = optarg;
            break;
        case 'm':
            if (o->n_choices == sizeof(o->choices) / sizeof(o->choices[0]))
                return kage_usage(argv[0], "--matrix is given too often");
            o->choices[o->n_choices++] = optarg;
            break;
        case 'h':
            o->help = true;
            return 0;
        case ':':
            return kage_usage(argv[0], "option '%s' needs a value", argv[optind - 1]);
        default:
            return kage_usage(argv[0], "unknown option '%s'", argv[optind - 1]);
        }
    }
    if (optind >= argc)
        return kage_usage(argv[0], "which spec? Name a file, or '-' for standard input");
    if (optind + 1 < argc)
        return kage_usage(argv[0], "one spec at a time; '%s' is one too many", argv[optind + 1]);
    if (o->initrd && !o->kernel)
        return kage_usage(argv[0], "--initrd goes with --kernel");
    o->spec = argv[optind];
    return 0;
}

static int print(const struct options *o, const struct kage_plans *plans)
{
    struct kage_buf text = {0};
    bool written;

    if (o->json)
        kage_plans_print_json(plans, &text);
    for (size_t i = 0; i < plans->n && !o->json; i++) {
        kage_buf_adds(&text, i ? "\n" : "");
        kage_plan_print_human(plans->items[i], &text);
    }
    written = fwrite(text.data, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
    kage_buf_done(&text);
    if (!written)
        fprintf(stderr, "kage plan: cannot write the plan: %s\n", strerror(errno));
    return written ? 0 : EXIT_USAGE;
}

int kage_verb_plan(int argc, char **argv)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plans plans = {0};
    struct kage_job job = {.show_warnings = true};
    struct options o = {0};
    int code;

    if (parse(argc, argv, &o) < 0)
        return EXIT_USAGE;
    if (o.help) {
        fputs(help, stdout);
        return kage_written(0);
    }
    job.spec = o.spec;
    job.kernel = o.kernel;
    job.initrd = o.initrd;
    job.host = o.host;
    job.choices = o.choices;
    job.n_choices = o.n_choices;
    code = kage_job_plans(&job, &plans, &err);
    if (code == 0)
        code = print(&o, &plans);
    else if (code > 0)
        code = EXIT_FINDINGS;
    else
        code = err.class == KAGE_CLASS_SPEC ? EXIT_USAGE : EXIT_NO_VERDICT;
    if (err.message)
        fprintf(stderr, "kage plan: %s\n", err.message);
    kage_plans_done(&plans);
    kage_error_done(&err);
    return code;
}
