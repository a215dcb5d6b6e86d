#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/diag/diag.h"
#include "runner/spec/spec.h"
#include "runner/verbs.h"

enum { EXIT_CLEAN = 0, EXIT_FINDINGS = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: kage check [OPTION]... FILE...\n"
    "Check specs without running them. FILE - is standard input.\n"
    "\n"
    "  --format=human|gcc|json|github  how findings are printed (human)\n"
    "  --fail-on=error|warning|note    the least severe finding that fails the check (error)\n"
    "  --color=auto|always|never       colour in human output (auto: on a terminal)\n"
    "  -q, --quiet                     print nothing, only exit\n"
    "  -h, --help                      show this help\n"
    "\n"
    "Exit codes: 0 nothing found, 1 findings, 2 wrong usage or an unreadable file.\n";

struct options {
    enum kage_format format;
    enum kage_severity fail_on;
    bool color, quiet;
};

static int wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int wrong(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("kage check: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputs("\nTry 'kage check --help'.\n", stderr);
    va_end(ap);
    return EXIT_USAGE;
}

static bool wants_color(const char *word, bool *ret)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if (strcmp(word, "always") == 0)
        *ret = true;
    else if (strcmp(word, "never") == 0)
        *ret = false;
    else if (strcmp(word, "auto") == 0)
        *ret = isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
               !(term && strcmp(term, "dumb") == 0);
    else
        return false;
    return true;
}

static bool severity_parse(const char *word, enum kage_severity *ret)
{
    for (int s = 0; s < KAGE_SEVERITY_COUNT; s++) {
        if (strcmp(word, kage_severity_name((enum kage_severity)s)) == 0) {
            *ret = (enum kage_severity)s;
            return true;
        }
    }
    return false;
}

/* Returns 0, or EXIT_USAGE when the mistake has been told. */
static int parse(int argc, char **argv, struct options *o, bool *help)
{
    static const struct option longs[] = {
        {"format", required_argument, NULL, 'f'}, {"fail-on", required_argument, NULL, 'F'},
        {"color", required_argument, NULL, 'c'},  {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    wants_color("auto", &o->color);
    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":qh", longs, NULL)) != -1;) {
        switch (c) {
        case 'f':
            if (kage_format_parse(optarg, &o->format) < 0)
                return wrong("there is no format '%s'", optarg);
            break;
        case 'F':
            if (!severity_parse(optarg, &o->fail_on))
                return wrong("'%s' is not error, warning or note", optarg);
            break;
        case 'c':
            if (!wants_color(optarg, &o->color))
                return wrong("'%s' is not auto, always or never", optarg);
            break;
        case 'q':
            o->quiet = true;
            break;
        case 'h':
            *help = true;
            break;
        case ':':
            return wrong("option '%s' needs a value", argv[optind - 1]);
        default:
            return wrong("there is no option '%s'", argv[optind - 1]);
        }
    }
    return 0;
}

/* Returns false when the file could not be read. */
static bool check_file(const char *path, struct kage_diags *diags)
{
    struct kage_spec *spec = NULL;
    struct kage_error err = KAGE_ERROR_INIT;
    int r = kage_spec_load(path, &spec, diags, &err);
    kage_spec_free(spec);
    if (r < 0)
        fprintf(stderr, "kage check: %s\n", err.message);
    kage_error_done(&err);
    return r >= 0;
}

/* A person at a terminal is told that there was nothing to tell, too. */
static void print_summary(const struct kage_diags *diags, int files)
{
    size_t n[KAGE_SEVERITY_COUNT];
    size_t all = 0;
    for (int s = 0; s < KAGE_SEVERITY_COUNT; s++)
        all += n[s] = kage_diags_count(diags, (enum kage_severity)s);
    if (all == 0) {
        printf("%d file%s checked, nothing found\n", files, files == 1 ? "" : "s");
        return;
    }
    const char *sep = "";
    for (int s = KAGE_SEVERITY_COUNT - 1; s >= 0; s--) {
        if (n[s])
            printf("%s%zu %s%s", sep, n[s], kage_severity_name((enum kage_severity)s),
                   n[s] == 1 ? "" : "s");
        if (n[s])
            sep = ", ";
    }
    printf("\n");
}

int kage_verb_check(int argc, char **argv)
{
    struct options o = {.format = KAGE_FORMAT_HUMAN, .fail_on = KAGE_ERROR};
    bool help = false;
    int r = parse(argc, argv, &o, &help);
    if (r)
        return r;
    if (help)
        return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? EXIT_USAGE : EXIT_CLEAN;
    if (optind >= argc)
        return wrong("which file?");

    KAGE_CLEANUP(kage_diags_freep) struct kage_diags *diags = kage_diags_new();
    bool readable = true;
    for (int i = optind; i < argc; i++)
        readable &= check_file(argv[i], diags);

    if (!o.quiet) {
        KAGE_CLEANUP(kage_buf_done) struct kage_buf out = {0};
        kage_diags_render(diags, o.format, o.color, &out);
        if (out.len)
            fwrite(out.data, 1, out.len, stdout);
        if (o.format == KAGE_FORMAT_HUMAN && isatty(STDOUT_FILENO) && readable)
            print_summary(diags, argc - optind);
        if (fflush(stdout) != 0 || ferror(stdout)) {
            perror("kage check: cannot write");
            return EXIT_USAGE;
        }
    }
    if (!readable)
        return EXIT_USAGE;
    for (int s = (int)o.fail_on; s < KAGE_SEVERITY_COUNT; s++)
        if (kage_diags_count(diags, (enum kage_severity)s))
            return EXIT_FINDINGS;
    return EXIT_CLEAN;
}
