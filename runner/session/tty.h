#pragma once

#include <stdbool.h>

/*
 * The user's terminal while a command of the guest has it. At most one at a time,
 * because what a crash has to put back must be known without being told.
 */

/* Makes the terminal pass every key on and show every byte as it is. From then on it is put back
 * whatever happens: at exit, and before a deadly signal of our own making (SIGSEGV and the like).
 * Returns -1 with errno set, also when fd is no terminal. */
int kage_tty_make_raw(int fd);
/* Puts the terminal back. Does nothing when it was not raw. */
void kage_tty_restore(void);

/* The size of the first terminal among the descriptors. */
bool kage_tty_size(const int *fds, int n, int *ret_rows, int *ret_cols);
