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

static int plan_spec(const struct kage_job *job, struct kage_spec *spec, struct kage_plan **ret,
                     struct kage_error *err)
{
    struct kage_host_facts facts = {0};
    int r = 0;

    if (job->kernel)
        r = kage_plan_use_kernel(spec, job->kernel, job->initrd, err);
    if (job->no_commands)
        spec->n_commands = 0;
    if (r == 0)
        r = job->host ? kage_host_read(job->host, &facts, err)
                      : kage_host_probe(spec->machine.arch, spec->machine.accel, &facts, err);
    if (r == 0)
        r = kage_plan_make(spec, &facts, ret, err);
    kage_host_facts_done(&facts);
    return r;
}

int kage_job_plan(const struct kage_job *job, struct kage_plan **ret, struct kage_error *err)
{
    struct kage_diags *diags = kage_diags_new();
    struct kage_spec *spec = NULL;
    KAGE_CLEANUP(kage_freep) char *here = job->text ? realpath(".", NULL) : NULL;
    int r;

    if (job->text)
        r = kage_spec_load_text(job->spec, here ? here : "/", job->text, strlen(job->text), &spec,
                                diags);
    else
        r = kage_spec_load(job->spec, &spec, diags, err);
    if (r > 0 || job->show_warnings)
        show_findings(diags);
    if (r == 0)
        r = plan_spec(job, spec, ret, err);
    /* The location borrows its file name from the spec, which ends here. */
    if (r < 0 && err->loc.file) {
        if (err->loc.line > 0)
            kage_error_wrap(err, "%s:%d:%d", err->loc.file, err->loc.line, err->loc.col);
        err->loc = (struct kage_loc){0};
    }
    kage_spec_free(spec);
    kage_diags_free(diags);
    return r;
}
