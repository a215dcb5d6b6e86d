#pragma once

#include "sandbox/options.h"
#include "sandbox/report.h"

/*
 * Keeps the helper's program file out of the command's hands.
 *
 * Until it execs, the command's process has the helper as its /proc/self/exe. A
 * command named so, or a script whose interpreter is, starts the helper itself
 * inside the sandbox, and from there its file can be opened; root could then
 * write to it, and the next run would execute that with all rights
 * (CVE-2019-5736 in runc). So if the command is root's, the file must lie on a
 * read-only mount, as vmd sees to, or be a sealed memfd. If it is neither, this
 * makes such a copy and executes it instead, which does not return.
 */
int kage_image_protect(const struct kage_sandbox_options *o, char **self_argv,
                       struct kage_failure *f);
