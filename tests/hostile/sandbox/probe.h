#pragma once

/* One file per subject; each takes what follows its name on the command line. */
int probe_walk(int argc, char **argv);       /* every call of the table, bogus arguments */
int probe_conditions(int argc, char **argv); /* calls whose arguments decide */
int probe_rights(int argc, char **argv);     /* files, devices, processes, descriptors */
int probe_life(int argc, char **argv);       /* signals, daemons, terminals */

/* One line "name errno-name", or "name ok" for 0. */
void probe_say(const char *name, int errnum);
