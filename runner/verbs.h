#pragma once

/* One file per verb: verb_check.c, verb_plan.c, verb_apply.c, … Each gets the arguments after its
 * name (argv[0] is the verb) and returns the process exit code. main.c holds the table. */
/* Says what is wrong with a verb's arguments and where to read on. Returns -1. */
int kage_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int kage_verb_check(int argc, char **argv);
int kage_verb_plan(int argc, char **argv);
int kage_verb_apply(int argc, char **argv);
int kage_verb_image(int argc, char **argv);
int kage_verb_start(int argc, char **argv);
int kage_verb_exec(int argc, char **argv);
int kage_verb_shell(int argc, char **argv);
int kage_verb_cp(int argc, char **argv);
int kage_verb_install(int argc, char **argv);
int kage_verb_stop(int argc, char **argv);
int kage_verb_ps(int argc, char **argv);
int kage_verb_logs(int argc, char **argv);
int kage_verb_gc(int argc, char **argv);
int kage_verb_seed_start(int argc, char **argv); /* `vmctl start` */
