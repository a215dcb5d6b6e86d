#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/image/image.h"
#include "runner/image/progress.h"
#include "runner/job.h"
#include "runner/plan/plan.h"
#include "runner/report/result.h"
#include "runner/session/run.h"
#include "runner/verbs.h"

#define EXIT_NO_VERDICT 125

static const char help[] =
    "usage: kage apply [options] FILE\n"
    "       kage apply [options] --plan FILE\n"
    "\n"
    "Runs the spec FILE ('-' for standard input) in a fresh virtual machine: its commands' output\n"
    "comes out as it is written, and the exit code is the job's verdict. The jobs of a matrix run\n"
    "one after another, and the verdict is that of the first one that does not pass.\n"
    "\n"
    "options:\n"
    "  --plan FILE    run a plan that `kage plan --format=json` wrote instead of a spec\n"
    "  --matrix AXIS=VALUE\n"
    "                 run only the jobs of the matrix with this value; can be given again\n"
    "  --result FILE  write the verdict and each command's outcome as JSON\n"
    "  --junit FILE   write the same as JUnit XML\n"
    "  --kernel FILE  boot this kernel instead of the image's\n"
    "  --initrd FILE  with --kernel: use this initramfs instead of kage's own\n"
    "  --timings      show where the time went, on standard error\n"
    "  --trace FILE   write the same for Perfetto or Chrome's tracing page\n"
    "  --cold         boot the machine; neither use nor make a template\n"
    "  -q, --quiet    no progress lines, also on a terminal\n"
    "  -h, --help     show this help\n"
    "\n"
    "exit code: 0 all commands ended as expected; else the failing command's own code, 128+n if\n"
    "signal n killed it, 126 or 127 if it could not be started, 124 on a timeout, 125 if there is\n"
    "no verdict (spec, host, image, boot, guest), 130, 143 or 129 on INT, TERM or HUP.\n";

struct options {
    char *choices[16];
    size_t n_choices;
    const char *spec, *plan, *result, *junit, *kernel, *initrd, *trace;
    bool quiet, cold, timings, help;
};

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"plan", required_argument, NULL, 'p'},   {"result", required_argument, NULL, 'r'},
        {"junit", required_argument, NULL, 'j'},  {"kernel", required_argument, NULL, 'k'},
        {"initrd", required_argument, NULL, 'i'}, {"cold", no_argument, NULL, 'c'},
        {"quiet", no_argument, NULL, 'q'},        {"matrix", required_argument, NULL, 'm'},
        {"timings", no_argument, NULL, 't'},      {"trace", required_argument, NULL, 'T'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":qh", longs, NULL)) != -1) {
        switch (c) {
        case 'p':
            o->plan = optarg;
            break;
        case 'r':
            o->result = optarg;
            break;
        case 'j':
            o->junit = optarg;
            break;
        case 'k':
            o->kernel = optarg;
            break;
        case 'i':
            o->initrd = optarg;
            break;
        case 't':
            o->timings = true;
            break;
        case 'T':
            o->trace = optarg;
            break;
        case 'c':
            o->cold = true;
            break;
        case 'm':
            if (o->n_choices == sizeof(o->choices) / sizeof(o->choices[0]))
                return kage_usage(argv[0], "--matrix is given too often");
            o->choices[o->n_choices++] = optarg;
            break;
        case 'q':
            o->quiet = true;
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
    if (o->plan && optind < argc)
        return kage_usage(argv[0], "--plan takes the place of a spec; '%s' is one too many",
                          argv[optind]);
    if (!o->plan && optind >= argc)
        return kage_usage(argv[0], "which spec? Name a file, or '-' for standard input");
    if (!o->plan && optind + 1 < argc)
        return kage_usage(argv[0], "one spec at a time; '%s' is one too many", argv[optind + 1]);
    if (o->initrd && !o->kernel)
        return kage_usage(argv[0], "--initrd goes with --kernel");
    if (o->plan && o->kernel)
        return kage_usage(argv[0], "--kernel is part of a plan already; make the plan with it");
    o->spec = o->plan ? NULL : argv[optind];
    return 0;
}

static void on_image_progress(const char *what, void *user)
{
    const struct options *o = user;

    if (!o->quiet)
        kage_image_show(what, false);
}

static int make_plans(const struct options *o, struct kage_plans *plans, struct kage_error *err)
{
    struct kage_job job = {.spec = o->spec,
                           .kernel = o->kernel,
                           .initrd = o->initrd,
                           .choices = o->choices,
                           .n_choices = o->n_choices};
    int r;

    if (o->plan)
        return kage_job_read_plans(o->plan, &job, plans, err);
    r = kage_job_plans(&job, plans, err);
    if (r > 0)
        r = kage_error_set(err, KAGE_CLASS_SPEC, "the spec has errors; nothing was run");
    return r;
}

static void set_failure(struct kage_result *result, struct kage_error *err)
{
    result->class = err->class;
    result->exit_code = kage_result_exit_code(err->class, 0, 0);
    result->message = KAGE_TAKE(err->message);
    result->loc = err->loc;
    kage_error_done(err);
}

static void run_job(struct options *o, const struct kage_plan *plan, uint64_t started_ms,
                    struct kage_result *result)
{
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_image_files files = {0};
    struct kage_run_options options = {.progress = !o->quiet && isatty(STDERR_FILENO),
                                       .cold = o->cold,
                                       .times = o->timings || o->trace,
                                       .started_ms = started_ms};

    uint64_t begin_us = kage_now_us();
    int r = kage_image_resolve(&plan->image, plan->arch, on_image_progress, o, &files, &err);

    if (options.times)
        kage_timeline_add(&result->timeline, KAGE_SIDE_HOST, "find the image", begin_us,
                          kage_now_us());
    if (r < 0)
        set_failure(result, &err);
    else
        kage_run(plan, &files, &options, result);
    kage_image_files_done(&files);
}

/* ---- the verdict ---- */

static void print_verdict(const struct options *o, const struct kage_plan *plan,
                          const struct kage_result *r)
{
    KAGE_CLEANUP(kage_freep) char *took = kage_duration_text(r->duration_ms);
    size_t ran = 0;

    for (size_t i = 0; i < r->n_commands; i++)
        ran += r->commands[i].status != KAGE_COMMAND_NOT_RUN;
    if (r->class == KAGE_CLASS_NONE && !o->quiet && isatty(STDERR_FILENO))
        fprintf(stderr, "kage: %s passed: %zu command%s in %s\n", plan->name, ran,
                ran == 1 ? "" : "s", took);
    if (r->class == KAGE_CLASS_NONE)
        return;
    if (r->loc.file && r->loc.line > 0)
        fprintf(stderr, "kage: %s:%d:%d: %s\n", r->loc.file, r->loc.line, r->loc.col, r->message);
    else
        fprintf(stderr, "kage: %s\n", r->message);
}

/* The jobs one after another: what follows a header on standard error is that job's output. */
static void run_jobs(struct options *o, const struct kage_plans *plans, uint64_t started_ms,
                     struct kage_result *results)
{
    bool interrupted = false;

    for (size_t i = 0; i < plans->n; i++) {
        KAGE_CLEANUP(kage_freep) char *label = kage_plan_label(plans->items[i]);
        KAGE_CLEANUP(kage_freep) char *shown = kage_printable(label, strlen(label));

        if (interrupted) {
            results[i].class = KAGE_CLASS_INTERRUPTED;
            results[i].exit_code = results[i - 1].exit_code;
            results[i].message = kage_strdup("not run: the run was interrupted");
            continue;
        }
        if (plans->n > 1 && !o->quiet)
            fprintf(stderr, "kage: job %zu of %zu: %s\n", i + 1, plans->n, shown);
        run_job(o, plans->items[i], i ? kage_now_ms() : started_ms, &results[i]);
        print_verdict(o, plans->items[i], &results[i]);
        if (o->timings)
            kage_timeline_print(&results[i].timeline, shown, stderr);
        interrupted = results[i].class == KAGE_CLASS_INTERRUPTED;
    }
}

static void print_summary(const struct options *o, const struct kage_plans *plans,
                          const struct kage_result *results)
{
    size_t failed = 0;

    for (size_t i = 0; i < plans->n; i++)
        failed += results[i].class != KAGE_CLASS_NONE;
    if (plans->n > 1 && failed)
        fprintf(stderr, "kage: %zu of %zu jobs did not pass\n", failed, plans->n);
    else if (plans->n > 1 && !o->quiet)
        fprintf(stderr, "kage: all %zu jobs passed\n", plans->n);
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

int kage_verb_apply(int argc, char **argv)
{
    uint64_t started_us = kage_now_us();
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_plans plans = {0};
    struct kage_result *results;
    struct options o = {0};
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
        set_failure(results, &err);
        print_verdict(&o, NULL, results);
    } else {
        results = kage_alloc(plans.n * sizeof *results);
        if (o.timings || o.trace)
            kage_timeline_add(&results->timeline, KAGE_SIDE_HOST, "read and plan the spec",
                              started_us, kage_now_us());
        run_jobs(&o, &plans, started_us / 1000, results);
        print_summary(&o, &plans, results);
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
