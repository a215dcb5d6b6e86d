#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/loop/loop.h"
#include "runner/image/image.h"
#include "runner/job.h"
#include "runner/report/result.h"
#include "runner/session/run.h"
#include "runner/template/template.h"
#include "runner/verbs.h"

#define EXIT_NO_VERDICT 125
#define KEY_MIN 4 /* a slip of the finger must not name a template */

static const char help[] =
    "usage: kage template build SPEC\n"
    "       kage template ls\n"
    "       kage template rm KEY...|--all\n"
    "\n"
    "A template is a machine saved right after its boot; `kage apply` and "
    "`kage start` begin there\n"
    "instead of booting, and make it on the first run of a kind of machine; one "
    "that stays is of another\n"
    "kind than one that runs a spec, and `build` is for the latter. Templates take at most\n"
    "4 GiB, the ones not used for longest go first, and one whose QEMU, "
    "image or machine has changed\n"
    "is not used again. `kage apply --cold` does without.\n"
    "Checkpoints, which a spec asks for with `checkpoint: true`, are kept with "
    "them: machines saved\n"
    "after a command, until something before it changes.\n"
    "\n"
    "KEY is the start of a key, four digits or more, that only one template "
    "has.\n";

/* How many templates have keys that begin so. *ret, if there is one, is that one's key; owned. */
static int count(const char *start, char **ret, struct kage_error *err)
{
    struct kage_template_info *all;
    size_t n;
    int found = 0;

    if (kage_template_list(&all, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!strncmp(all[i].key, start, strlen(start)) && ++found == 1)
            *ret = kage_strdup(all[i].key);
    kage_template_list_free(all, n);
    return found;
}

/* A run goes on without a template where none can be made, which for `build` is the failure. */
static int check_made(const struct kage_plan *plan, const struct kage_image_files *files,
                      struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *key = kage_template_key(plan, files, err);
    KAGE_CLEANUP(kage_freep) char *found = NULL;
    int n = key ? count(key, &found, err) : -1;

    if (n == 0)
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "the machine works, but no template came out of it; another kage may "
                              "be making the same one");
    return n < 0 ? -1 : 0;
}

static int build(const char *file)
{
    struct kage_run_options options = {.progress = isatty(STDERR_FILENO),
                                       .started_ms = kage_now_ms()};
    struct kage_job job = {.spec = file, .no_commands = true};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_image_files files = {0};
    struct kage_result result = {0};
    struct kage_plan *plan = NULL;
    int code = EXIT_NO_VERDICT;
    int r = kage_job_plan(&job, &plan, &err);

    if (r == 0 && !kage_template_possible(plan))
        r = kage_error_set(&err, KAGE_CLASS_HOST,
                           "a machine with a clock of its own is not saved as a template");
    if (r == 0)
        r = kage_image_resolve(&plan->image, plan->arch, NULL, NULL, &files, &err);
    if (r == 0) {
        kage_run(plan, &files, &options, &result);
        code = result.exit_code;
        if (result.message)
            fprintf(stderr, "kage: %s\n", result.message);
        if (code == 0 && check_made(plan, &files, &err) < 0)
            code = EXIT_NO_VERDICT;
    }
    if (err.message) {
        fprintf(stderr, "kage: %s\n", err.message);
    }
    kage_result_done(&result);
    kage_image_files_done(&files);
    kage_plan_free(plan);
    kage_error_done(&err);
    return code;
}

static int list(struct kage_error *err)
{
    struct kage_template_info *all;
    size_t n;

    if (kage_template_list(&all, &n, err) < 0)
        return -1;
    printf("%-12s  %-16s  %-5s  %9s  %-10s  %-6s  %s\n", "KEY", "MADE FOR", "ACCEL", "DISK",
           "LAST USED", "IN USE", "CHECKPOINT AFTER");
    for (size_t i = 0; i < n; i++) {
        int64_t ago = time(NULL) - all[i].used;
        KAGE_CLEANUP(kage_freep)
        char *age = kage_duration_text((uint64_t)(ago > 60 ? ago / 60 * 60 : ago) * 1000);

        printf("%-12.12s  %-16s  %-5s  %5" PRIu64 " MiB  %-10s  %-6s  %s\n", all[i].key,
               all[i].name, all[i].accel, all[i].disk >> 20, age, all[i].in_use ? "yes" : "no",
               all[i].after ? all[i].after : "-");
    }
    kage_template_list_free(all, n);
    return 0;
}

static int remove_one(const char *start, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *shown = kage_printable(start, strlen(start));
    KAGE_CLEANUP(kage_freep) char *key = NULL;
    int n;

    if (strlen(start) < KEY_MIN || start[strspn(start, "0123456789abcdef")])
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "'%s' is not the start of a template's key: %d or more of its "
                              "digits, as `kage template ls` prints them",
                              shown, KEY_MIN);
    n = count(start, &key, err);
    if (n < 0)
        return -1;
    if (n != 1)
        return kage_error_set(err, KAGE_CLASS_HOST,
                              n ? "'%s' is the start of more than one template's key"
                                : "there is no template '%s'",
                              shown);
    n = kage_template_remove(key, err);
    if (n == 0)
        return kage_error_set(err, KAGE_CLASS_HOST, "template '%s' is in use", shown);
    return n < 0 ? -1 : 0;
}

static int removal(int argc, char **argv, struct kage_error *err)
{
    if (argc == 0)
        return kage_usage("template", "which template? Or --all");
    for (int i = 0; i < argc; i++) {
        bool all = !strcmp(argv[i], "--all");

        if ((all ? kage_template_remove(NULL, err) : remove_one(argv[i], err)) < 0)
            return -1;
    }
    return 0;
}

int kage_verb_template(int argc, char **argv)
{
    struct kage_error err = KAGE_ERROR_INIT;
    const char *what = argc > 1 ? argv[1] : "";
    int code = 0;

    if (!strcmp(what, "--help") || !strcmp(what, "-h"))
        return kage_written(fputs(help, stdout) < 0);
    if (!strcmp(what, "build") && argc == 3)
        return build(argv[2]);
    if (!strcmp(what, "ls") && argc == 2)
        code = list(&err);
    else if (!strcmp(what, "rm"))
        code = removal(argc - 2, argv + 2, &err);
    else
        return -2 * kage_usage("template", "it takes 'build SPEC', 'ls' or 'rm KEY'");
    if (err.message)
        fprintf(stderr, "kage: %s\n", err.message);
    kage_error_done(&err);
    return kage_written(code < 0);
}
