#pragma once

/* One file per verb: verb_check.c, verb_plan.c, verb_apply.c, … Each gets the arguments after its
 * name (argv[0] is the verb) and returns the process exit code. main.c holds the table. */
int kage_verb_check(int argc, char **argv);
int kage_verb_plan(int argc, char **argv);
int kage_verb_apply(int argc, char **argv);
int kage_verb_image(int argc, char **argv);
