#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the fuzzers share. Each is one function, run by libFuzzer where clang has it and by driver.c
 * everywhere else. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program with the broken promise: a finding for either of the two. */
#define PROMISE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The input as a file for functions that take a path: "/proc/self/fd/N" of a file in memory that is
 * made once. Borrowed. */
const char *fuzz_file(const void *data, size_t size);

/* A folder of this process's own, removed at exit. Borrowed. */
const char *fuzz_folder(void);

/* Takes an input apart, front to back; at its end everything is 0 and empty. */
struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

uint8_t fuzz_byte(struct fuzz_input *in);
/* A part of the input with its length in two bytes, little endian. */
const uint8_t *fuzz_part(struct fuzz_input *in, size_t *len);
/* The same as an owned text that ends at its first NUL byte. */
char *fuzz_text(struct fuzz_input *in);
