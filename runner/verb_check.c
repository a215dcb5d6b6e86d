#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/check/config.h"
#include "runner/check/inputs.h"
#include "runner/check/mend.h"
#include "runner/diag/diag.h"
#include "runner/needs/needs.h"
#include "runner/spec/spec.h"
#include "runner/verbs.h"

enum { EXIT_CLEAN = 0, EXIT_FINDINGS = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: kage check [OPTION]... FILE...\n"
    "Check specs without running them. FILE - is standard input; a folder stands for\n"
    "all specs in it and below.\n"
    "\n"
    "  --format=human|gcc|json|github|sarif\n"
    "                                  how findings are printed (human)\n"
    "  --fail-on=error|warning|note    the least severe finding that fails the check (error)\n"
    "  --notes                         show notes, too: advice to take or leave\n"
    "  --locked                        an image without a digest (K401) is an error\n"
    "  --host                          tell, too, what this machine lacks to run the specs\n"
    "  --host-facts=FILE               the same for the machine this JSON file describes\n"
    "  --fix                           first mend in the files what is certain\n"
    "  --config=FILE                   settings (.kage-check.yaml here or in a folder above)\n"
    "  --no-config                     no settings\n"
    "  --color=auto|always|never       colour in human output (auto: on a terminal)\n"
    "  -q, --quiet                     print nothing, only exit\n"
    "  -h, --help                      show this help\n"
    "\n"
    "'kage explain CODE' tells more about a finding.\n"
    "\n"
    "Exit codes: 0 nothing found, 1 findings, 2 wrong usage or an unreadable file.\n";

struct options {
    enum kage_format format;
    enum kage_severity fail_on;
    bool fail_on_given, color, quiet, notes, locked, fix, no_config, host;
    const char *config, *host_facts;
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

/* Returns 0, or EXIT_USAGE when the mistake has been told. */
static int parse(int argc, char **argv, struct options *o, bool *help)
{
    static const struct option longs[] = {
        {"format", required_argument, NULL, 'f'},
        {"fail-on", required_argument, NULL, 'F'},
        {"color", required_argument, NULL, 'c'},
        {"quiet", no_argument, NULL, 'q'},
        {"notes", no_argument, NULL, 'n'},
        {"locked", no_argument, NULL, 'l'},
        {"host", no_argument, NULL, 'H'},
        {"host-facts", required_argument, NULL, 'A'},
        {"fix", no_argument, NULL, 'x'},
        {"config", required_argument, NULL, 'C'},
        {"no-config", no_argument, NULL, 'N'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
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
            if (!kage_severity_parse(optarg, &o->fail_on))
                return wrong("'%s' is not error, warning or note", optarg);
            o->fail_on_given = true;
            break;
        case 'n':
            o->notes = true;
            break;
        case 'l':
            o->locked = true;
            break;
        case 'A':
            o->host_facts = optarg;
            o->host = true;
            break;
        case 'H':
            o->host = true;
            break;
        case 'x':
            o->fix = true;
            break;
        case 'C':
            o->config = optarg;
            break;
        case 'N':
            o->no_config = true;
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

/* Returns false when the file could not be read. `needs` may be NULL; a spec with errors is not
 * looked at for what it needs. */
static bool check_file(const char *path, struct kage_needs *needs, struct kage_diags *diags)
{
    struct kage_spec *spec = NULL;
    struct kage_error err = KAGE_ERROR_INIT;
    int r = kage_spec_load(path, &spec, diags, &err);
    if (spec && needs)
        kage_needs_check(needs, spec, diags);
    kage_spec_free(spec);
    if (r < 0)
        fprintf(stderr, "kage check: %s\n", err.message);
    kage_error_done(&err);
    return r >= 0;
}

/* Prints the error, if there is one, and empties it. Returns whether there was none. */
static bool tell(int r, struct kage_error *err)
{
    if (r < 0)
        fprintf(stderr, "kage check: %s\n", err->message);
    kage_error_done(err);
    return r >= 0;
}

/* What the options leave open, the settings of the project decide. */
static bool configure(struct options *o, struct kage_diags *diags)
{
    struct kage_check_config config = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    KAGE_CLEANUP(kage_freep)
    char *path = o->config      ? kage_strdup(o->config)
                 : o->no_config ? NULL
                                : kage_check_config_find(".");
    if (path && !tell(kage_check_config_read(path, &config, &err), &err))
        return false;
    kage_check_config_apply(&config, diags);
    if (config.has_fail_on && !o->fail_on_given)
        o->fail_on = config.fail_on;
    if (o->locked || config.locked)
        kage_diags_set_severity(diags, K401_NO_DIGEST, KAGE_ERROR);
    kage_diags_want_notes(diags, o->notes || config.notes || o->fail_on == KAGE_NOTE);
    return true;
}

static bool mend_file(const char *path)
{
    struct kage_error err = KAGE_ERROR_INIT;
    size_t fixed = 0;
    bool ok = tell(kage_mend_file(path, &fixed, &err), &err);
    if (fixed)
        fprintf(stderr, "kage check: %zu fixed in %s\n", fixed, path);
    return ok;
}

/* A person at a terminal is told that there was nothing to tell, too. */
static void print_summary(const struct kage_diags *diags, size_t files)
{
    size_t n[KAGE_SEVERITY_COUNT];
    size_t all = 0;
    for (int s = 0; s < KAGE_SEVERITY_COUNT; s++)
        all += n[s] = kage_diags_count(diags, (enum kage_severity)s);
    if (all == 0) {
        printf("%zu file%s checked, nothing found\n", files, files == 1 ? "" : "s");
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
    KAGE_CLEANUP(kage_inputs_done) struct kage_inputs inputs = {0};
    if (!configure(&o, diags))
        return EXIT_USAGE;
    KAGE_CLEANUP(kage_needs_freep) struct kage_needs *needs = NULL;
    struct kage_error facts_err = KAGE_ERROR_INIT;
    if (o.host && !(needs = kage_needs_new(o.host_facts, &facts_err)))
        return tell(-1, &facts_err) ? EXIT_CLEAN : EXIT_USAGE;
    bool readable = true;
    for (int i = optind; i < argc; i++) {
        struct kage_error err = KAGE_ERROR_INIT;
        if (o.fix && strcmp(argv[i], "-") == 0)
            return wrong("--fix needs a file that it can write to");
        readable &= tell(kage_inputs_add(&inputs, argv[i], &err), &err);
    }
    for (size_t i = 0; i < inputs.n; i++)
        readable &=
            (!o.fix || mend_file(inputs.paths[i])) && check_file(inputs.paths[i], needs, diags);

    if (!o.quiet) {
        KAGE_CLEANUP(kage_buf_done) struct kage_buf out = {0};
        kage_diags_render(diags, o.format, o.color, &out);
        if (out.len)
            fwrite(out.data, 1, out.len, stdout);
        if (o.format == KAGE_FORMAT_HUMAN && isatty(STDOUT_FILENO) && readable)
            print_summary(diags, inputs.n);
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
