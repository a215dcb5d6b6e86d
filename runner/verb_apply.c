#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/loop/loop.h"
#include "runner/apply/apply.h"
#include "runner/check/inputs.h"
#include "runner/job.h"
#include "runner/plan/plan.h"
#include "runner/report/result.h"
#include "runner/verbs.h"

#define EXIT_NO_VERDICT 125

static const char help[] =
    "usage: kage apply [options] FILE...\n"
    "       kage apply [options] --plan FILE\n"
    "\n"
    "Runs each spec FILE ('-' for standard input, a folder for all specs in it and below) in a "
    "fresh\n"
    "virtual machine: its commands' output comes out as it is written, and the exit code is the\n"
    "job's verdict. Several specs, and the jobs of a matrix, run one after another, or several at\n"
    "once with --jobs; the verdict is that of the first one in order that does not pass. If one "
    "of\n"
    "the specs has errors, nothing runs.\n"
    "\n"
    "options:\n"
    "  -j, --jobs N   run N jobs at once; 'auto' for as many as this host's processors and memory\n"
    "                 hold (default: 1)\n"
    "  --output grouped|prefixed\n"
    "                 show each job's output when it is over, or line by line behind the job's\n"
    "                 name; the default with several jobs at once is prefixed on a terminal and\n"
    "                 grouped elsewhere\n"
    "  --fail-fast    when a job does not pass, cancel those that run and start no more\n"
    "  --plan FILE    run a plan that `kage plan --format=json` wrote, instead of a spec; '-' for\n"
    "                 standard input\n"
    "  --matrix AXIS=VALUE\n"
    "                 run only the jobs of the matrix with this value; can be given again\n"
    "  --result FILE  write the verdict and each command's outcome as JSON\n"
    "  --junit FILE   write the same as JUnit XML\n"
    "  --kernel KERNEL\n"
    "                 boot this kernel: lean or stock, which are kage's own, or a file\n"
    "  --initrd FILE  with --kernel: use this initramfs instead of kage's own\n"
    "  --cold         boot the machine; neither use nor make a template or checkpoint\n"
    "  --timings      show where the time went, on standard error\n"
    "  --trace FILE   write the same for Perfetto or Chrome's tracing page\n"
    "  -q, --quiet    no progress lines, also on a terminal\n"
    "  -h, --help     show this help\n"
    "\n"
    "exit code: 0 all commands ended as expected; else the failing command's own code, 128+n if\n"
    "signal n killed it, 126 or 127 if it could not be started, 124 on a timeout, 125 if there is\n"
    "no verdict (spec, host, image, boot, guest), 130, 143 or 129 on INT, TERM or HUP.\n";

struct options {
    struct kage_apply apply;
    char *choices[16];
    size_t n_choices;
    char *const *specs; /* as given */
    size_t n_specs;
    const char *plan, *result, *junit, *kernel, *initrd, *trace;
    bool help;
};

/* A number of jobs, or 0 for "auto". Returns -1 for anything else. */
static int parse_jobs(const char *text, unsigned *ret)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (strcmp(text, "auto") == 0) {
        *ret = 0;
        return 0;
    }
    if (text[0] < '0' || text[0] > '9' || *end || n < 1 || n > KAGE_APPLY_JOBS_MAX)
        return -1;
    *ret = (unsigned)n;
    return 0;
}

static int parse_output(const char *text, enum kage_apply_output *ret)
{
    if (strcmp(text, "grouped") == 0)
        *ret = KAGE_APPLY_GROUPED;
    else if (strcmp(text, "prefixed") == 0)
        *ret = KAGE_APPLY_PREFIXED;
    else
        return -1;
    return 0;
}

/* Two reports that would replace each other. A device or a FIFO takes both. */
static bool share_file(const char *a, const char *b)
{
    struct stat st;

    return a && b && strcmp(a, b) == 0 && (stat(a, &st) < 0 || S_ISREG(st.st_mode));
}

/* What the options say together. */
static int check(const char *verb, const struct options *o)
{
    size_t inputs = 0;

    for (size_t i = 0; i < o->n_specs; i++)
        inputs += strcmp(o->specs[i], "-") == 0;
    if (o->plan && o->n_specs)
        return kage_usage(verb, "--plan takes the place of a spec; '%s' is one too many",
                          o->specs[0]);
    if (!o->plan && !o->n_specs)
        return kage_usage(verb, "which spec? Name a file, or '-' for standard input");
    if (inputs > 1)
        return kage_usage(verb, "standard input ('-') can be read only once");
    if (share_file(o->result, o->junit) || share_file(o->result, o->trace) ||
        share_file(o->junit, o->trace))
        return kage_usage(verb, "--result, --junit and --trace each need a file of their own");
    if (o->initrd && !o->kernel)
        return kage_usage(verb, "--initrd goes with --kernel");
    if (o->plan && o->kernel)
        return kage_usage(verb, "--kernel is part of a plan already; make the plan with it");
    return 0;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"plan", required_argument, NULL, 'p'},
        {"result", required_argument, NULL, 'r'},
        {"junit", required_argument, NULL, 'J'},
        {"kernel", required_argument, NULL, 'k'},
        {"initrd", required_argument, NULL, 'i'},
        {"cold", no_argument, NULL, 'c'},
        {"quiet", no_argument, NULL, 'q'},
        {"matrix", required_argument, NULL, 'm'},
        {"jobs", required_argument, NULL, 'j'},
        {"output", required_argument, NULL, 'o'},
        {"fail-fast", no_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {"timings", no_argument, NULL, 't'},
        {"trace", required_argument, NULL, 'T'},
        {0},
    };
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":j:qh", longs, NULL)) != -1) {
        switch (c) {
        case 'p':
            o->plan = optarg;
            break;
        case 'r':
            o->result = optarg;
            break;
        case 'J':
            o->junit = optarg;
            break;
        case 'k':
            o->kernel = optarg;
            break;
        case 'i':
            o->initrd = optarg;
            break;
        case 'c':
            o->apply.cold = true;
            break;
        case 'j':
            if (parse_jobs(optarg, &o->apply.jobs) < 0)
                return kage_usage(argv[0], "--jobs is a number from 1 to %u or 'auto', not '%s'",
                                  KAGE_APPLY_JOBS_MAX, optarg);
            break;
        case 'o':
            if (parse_output(optarg, &o->apply.output) < 0)
                return kage_usage(argv[0], "--output is grouped or prefixed, not '%s'", optarg);
            break;
        case 'f':
            o->apply.fail_fast = true;
            break;
        case 't':
            o->apply.timings = o->apply.times = true;
            break;
        case 'T':
            o->trace = optarg;
            o->apply.times = true;
            break;
        case 'm':
            if (o->n_choices == sizeof(o->choices) / sizeof(o->choices[0]))
                return kage_usage(argv[0], "--matrix is given too often");
            o->choices[o->n_choices++] = optarg;
            break;
        case 'q':
            o->apply.quiet = true;
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
    o->specs = argv + optind;
    o->n_specs = (size_t)(argc - optind);
    return check(argv[0], o);
}

static int make_plans(const struct options *o, struct kage_plans *plans, struct kage_error *err)
{
    struct kage_job job = {
        .kernel = o->kernel, .initrd = o->initrd, .choices = o->choices, .n_choices = o->n_choices};
    KAGE_CLEANUP(kage_inputs_done) struct kage_inputs inputs = {0};
    int r;

    if (o->plan)
        return kage_job_read_plans(o->plan, &job, plans, err);
    for (size_t i = 0; i < o->n_specs; i++)
        if (kage_inputs_add(&inputs, o->specs[i], err) < 0)
            return -1;
    r = kage_job_plans_of(&job, inputs.paths, inputs.n, plans, err);
    if (r > 0)
        r = kage_error_set(err, KAGE_CLASS_SPEC, "%s; nothing was run",
                           inputs.n > 1 ? "there are errors in the specs" : "the spec has errors");
    return r;
}

/* A report that cannot be written must not look like a run that passed. */
static int write_reports(const struct options *o, const struct kage_plans *plans,
                         const struct kage_result *results, int code)
{
    struct kage_error errs[3] = {KAGE_ERROR_INIT, KAGE_ERROR_INIT, KAGE_ERROR_INIT};

    if (o->result)
        kage_results_write(o->result, plans, results, &errs[0]);
    if (o->junit)
        kage_results_write_junit(o->junit, plans, results, &errs[1]);
    if (o->trace)
        kage_timelines_write(o->trace, plans, results, &errs[2]);
    for (size_t i = 0; i < sizeof errs / sizeof *errs; i++) {
        if (errs[i].message) {
            fprintf(stderr, "kage: %s\n", errs[i].message);
            code = code ? code : EXIT_NO_VERDICT;
        }
        kage_error_done(&errs[i]);
    }
    return code;
}

static void print_failure(const struct kage_result *r)
{
    struct kage_buf text = {0};

    kage_apply_failure(r, &text);
    fwrite(text.data, 1, text.len, stderr);
    kage_buf_done(&text);
}

int kage_verb_apply(int argc, char **argv)
{
    uint64_t started_us = kage_now_us();
    struct options o = {.apply = {.jobs = 1, .started_ms = started_us / 1000}};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plans plans = {0};
    struct kage_result *results;
    int code;

    if (parse(argc, argv, &o) < 0)
        return EXIT_NO_VERDICT;
    if (o.help) {
        fputs(help, stdout);
        return kage_written(0);
    }
    if ((o.result && kage_report_check_path(o.result, &err) < 0) ||
        (o.junit && kage_report_check_path(o.junit, &err) < 0) ||
        (o.trace && kage_report_check_path(o.trace, &err) < 0)) {
        fprintf(stderr, "kage: %s\n", err.message);
        kage_error_done(&err);
        return EXIT_NO_VERDICT;
    }
    if (make_plans(&o, &plans, &err) < 0) {
        results = kage_alloc(sizeof *results);
        kage_apply_fail(results, &err);
        print_failure(results);
    } else {
        results = kage_alloc(plans.n * sizeof *results);
        kage_plans_label(&plans);
        if (o.apply.times)
            kage_timeline_add(&results->timeline, KAGE_SIDE_HOST, "read and plan the spec",
                              started_us, kage_now_us());
        kage_apply_run(&o.apply, &plans, results);
    }
    code = kage_results_verdict(results, plans.n ? plans.n : 1)->exit_code;
    code = write_reports(&o, &plans, results, code);
    for (size_t i = 0; i < plans.n || i < 1; i++)
        kage_result_done(&results[i]);
    free(results);
    kage_plans_done(&plans);
    kage_error_done(&err);
    return code;
}
