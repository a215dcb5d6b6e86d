#include "runner/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "runner/diag/diag.h"
#include "runner/host/facts.h"
#include "runner/spec/spec.h"

static void show_findings(struct kage_diags *diags)
{
    struct kage_buf text = {0};

    kage_diags_render(diags, KAGE_FORMAT_HUMAN, isatty(STDERR_FILENO) && !getenv("NO_COLOR"),
                      &text);
    if (text.len)
        fwrite(text.data, 1, text.len, stderr);
    kage_buf_done(&text);
}

/* The facts are looked up once for all jobs that ask the same of the host. */
struct host {
    struct kage_host_facts facts;
    bool known;
    enum kage_arch arch;
    enum kage_accel accel;
};

static int look_at_host(const struct kage_job *job, const struct kage_spec *spec, struct host *host,
                        struct kage_error *err)
{
    int r;

    if (host->known &&
        (job->host || (host->arch == spec->machine.arch && host->accel == spec->machine.accel)))
        return 0;
    if (host->known)
        kage_host_facts_done(&host->facts);
    host->facts = (struct kage_host_facts){0};
    r = job->host ? kage_host_read(job->host, &host->facts, err)
                  : kage_host_probe(spec->machine.arch, spec->machine.accel, &host->facts, err);
    host->known = r == 0;
    host->arch = spec->machine.arch;
    host->accel = spec->machine.accel;
    return r;
}

static int plan_spec(const struct kage_job *job, struct kage_spec *spec, struct host *host,
                     struct kage_plan **ret, struct kage_error *err)
{
    if (job->kernel && kage_plan_use_kernel(spec, job->kernel, job->initrd, err) < 0)
        return -1;
    if (job->no_commands)
        spec->n_commands = spec->n_artifacts = 0;
    if (look_at_host(job, spec, host, err) < 0)
        return -1;
    if (kage_plan_make(spec, &host->facts, ret, err) < 0)
        return -1;
    if (!job->stays || kage_plan_open_way_in(*ret, &host->facts, err) == 0)
        return 0;
    kage_plan_free(*ret);
    *ret = NULL;
    return -1;
}

static int fail_choice(const struct kage_job *job, struct kage_error *err)
{
    struct kage_buf text = {0};

    for (size_t i = 0; i < job->n_choices; i++)
        kage_buf_addf(&text, "%s%s", i ? " and " : "", job->choices[i]);
    kage_error_set(err, KAGE_CLASS_SPEC, "no job of the matrix has %s", text.data);
    kage_buf_done(&text);
    return -1;
}

/* Adds a plan for each of the spec's jobs that is asked for. */
static int plan_jobs(const struct kage_job *job, struct kage_spec *first, struct host *host,
                     struct kage_plans *ret, struct kage_error *err)
{
    size_t n = 0;
    int r = 0;

    for (const struct kage_spec *s = first; s; s = s->next_job)
        n++;
    ret->items = kage_realloc(ret->items, (ret->n + n) * sizeof(*ret->items));
    for (struct kage_spec *s = first; s && r == 0; s = s->next_job) {
        if (!kage_choices_match(s->matrix, s->n_matrix, job->choices, job->n_choices))
            continue;
        r = plan_spec(job, s, host, &ret->items[ret->n], err);
        ret->n += r == 0;
    }
    /* The location borrows its file name from the spec, which ends before the error does. */
    if (r < 0 && err->loc.file) {
        if (err->loc.line > 0)
            kage_error_wrap(err, "%s:%d:%d", err->loc.file, err->loc.line, err->loc.col);
        err->loc = (struct kage_loc){0};
    }
    return r;
}

int kage_job_read_plans(const char *path, const struct kage_job *job, struct kage_plans *ret,
                        struct kage_error *err)
{
    struct kage_plans all = {0};
    size_t kept = 0;

    if (kage_plans_read(path, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.n; i++) {
        struct kage_plan *plan = all.items[i];

        if (kage_choices_match(plan->matrix, plan->n_matrix, job->choices, job->n_choices))
            all.items[kept++] = plan;
        else
            kage_plan_free(plan);
    }
    all.n = kept;
    if (!kept) {
        kage_plans_done(&all);
        return fail_choice(job, err);
    }
    *ret = all;
    return 0;
}

/* Reads one spec. Returns 0, 1 when it has errors, -1 when it cannot be read. */
static int load(const struct kage_job *job, const char *path, struct kage_spec **ret,
                struct kage_diags *diags, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *here = NULL;

    if (!job->text)
        return kage_spec_load(path, ret, diags, err);
    here = realpath(".", NULL);
    return kage_spec_load_text(path, here ? here : "/", job->text, strlen(job->text), ret, diags);
}

/* Reads them all, whatever is wrong with some: everything that is to be mended is told at once. */
static int load_all(const struct kage_job *job, char *const *paths, size_t n,
                    struct kage_spec **specs, struct kage_error *err)
{
    struct kage_diags *diags = kage_diags_new();
    bool wrong = false, unread = false;

    for (size_t i = 0; i < n; i++) {
        struct kage_error own = KAGE_ERROR_INIT;
        int r = load(job, paths[i], &specs[i], diags, &own);

        wrong |= r > 0;
        if (r < 0) {
            KAGE_CLEANUP(kage_freep)
            char *text = unread ? kage_asprintf("%s; %s", err->message, own.message)
                                : kage_strdup(own.message);

            kage_error_set(err, own.class, "%s", text);
            unread = true;
        }
        kage_error_done(&own);
    }
    if (wrong || job->show_warnings)
        show_findings(diags);
    kage_diags_free(diags);
    return unread ? -1 : wrong;
}

int kage_job_plans_of(const struct kage_job *job, char *const *paths, size_t n,
                      struct kage_plans *ret, struct kage_error *err)
{
    struct kage_spec **specs = kage_alloc((n + 1) * sizeof(*specs));
    struct kage_plans plans = {0};
    struct host host = {0};
    int r = load_all(job, paths, n, specs, err);

    for (size_t i = 0; i < n && r == 0; i++)
        r = plan_jobs(job, specs[i], &host, &plans, err);
    if (r == 0 && plans.n == 0)
        r = fail_choice(job, err);
    if (host.known)
        kage_host_facts_done(&host.facts);
    if (r == 0)
        *ret = plans;
    else
        kage_plans_done(&plans);
    for (size_t i = 0; i < n; i++)
        kage_spec_free(specs[i]);
    free(specs);
    return r;
}

int kage_job_plans(const struct kage_job *job, struct kage_plans *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_freep) char *path = kage_strdup(job->spec);

    return kage_job_plans_of(job, &path, 1, ret, err);
}

int kage_job_plan(const struct kage_job *job, struct kage_plan **ret, struct kage_error *err)
{
    struct kage_plans plans = {0};
    int r = kage_job_plans(job, &plans, err);

    if (r == 0 && plans.n > 1)
        r = kage_error_set(err, KAGE_CLASS_SPEC, "%s has a matrix of %zu jobs, and this takes one",
                           job->spec, plans.n);
    if (r == 0) {
        *ret = plans.items[0];
        plans.n = 0;
    }
    kage_plans_done(&plans);
    return r;
}
