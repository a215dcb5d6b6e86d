#pragma once

#include <stddef.h>

/* One file per verb: verb_check.c, verb_plan.c, verb_apply.c, … Each gets the arguments after its
 * name (argv[0] is the verb) and returns the process exit code. verb_table.c holds the table. */
struct kage_verb {
    const char *name, *help;
    int (*run)(int argc, char **argv);
};

const struct kage_verb *kage_verbs(size_t *n);
const struct kage_verb *kage_verb_find(const char *name);

/* Says what is wrong with a verb's arguments and where to read on. Returns -1. */
int kage_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Writes out what standard output still holds. Returns the exit code: `code`, but where that is 0
 * and output was lost, says so and returns 1. */
int kage_written(int code);

int kage_verb_check(int argc, char **argv);
int kage_verb_explain(int argc, char **argv);
int kage_verb_init(int argc, char **argv);
int kage_verb_plan(int argc, char **argv);
int kage_verb_apply(int argc, char **argv);
int kage_verb_image(int argc, char **argv);
int kage_verb_template(int argc, char **argv);
int kage_verb_start(int argc, char **argv);
int kage_verb_exec(int argc, char **argv);
int kage_verb_shell(int argc, char **argv);
int kage_verb_web(int argc, char **argv);
int kage_verb_cp(int argc, char **argv);
int kage_verb_install(int argc, char **argv);
int kage_verb_stop(int argc, char **argv);
int kage_verb_ps(int argc, char **argv);
int kage_verb_logs(int argc, char **argv);
int kage_verb_gc(int argc, char **argv);
int kage_verb_schema(int argc, char **argv);
int kage_verb_lsp(int argc, char **argv);
int kage_verb_completion(int argc, char **argv);
int kage_verb_manual(int argc, char **argv);
int kage_verb_seed_start(int argc, char **argv); /* `vmctl start` */
