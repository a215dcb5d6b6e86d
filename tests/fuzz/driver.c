/*
 * A plain driver for the fuzzers, for compilers without libFuzzer and for CTest: each seed as it
 * is, then mutants of them, the same ones every time.
 *
 *     fuzz_X [-runs=N] [-seed=N] [-dict=FILE] SEED…
 *
 * A seed is a file or a folder of files. An input that breaks something is left in ./crash-fuzz_X,
 * and so is one that takes more than two seconds of processor time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_MAX ((size_t)64 * 1024) /* of a mutant; seeds may be longer */
#define SECONDS_MAX 2

struct text {
    uint8_t *data;
    size_t size;
};

struct texts {
    struct text *items;
    size_t n, cap;
};

static const char *name;
static struct text current;
static uint64_t state;

static uint32_t draw(uint32_t below) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545F4914F6CDD1Dull) >> 32) % below;
}

static void keep_current(void)
{
    char path[256];
    snprintf(path, sizeof(path), "crash-%s", name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0 && write(fd, current.data, current.size) == (ssize_t)current.size)
        (void)!write(2, "the input is in the file crash-…\n", 35);
}

static void on_signal(int signo)
{
    if (signo == SIGXCPU)
        (void)!write(2, "too slow\n", 9);
    keep_current();
    signal(signo, SIG_DFL);
    raise(signo == SIGXCPU ? SIGKILL : signo);
}

/* Sanitizers end a program on their own. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void run(const uint8_t *data, size_t size)
{
    timer_t timer;
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGXCPU};
    const struct itimerspec limit = {.it_value.tv_sec = SECONDS_MAX};
    current = (struct text){(uint8_t *)data, size};
    if (timer_create(CLOCK_PROCESS_CPUTIME_ID, &how, &timer) == 0)
        timer_settime(timer, 0, &limit, NULL);
    LLVMFuzzerTestOneInput(data, size);
    timer_delete(timer);
}

static void add(struct texts *all, const uint8_t *data, size_t size)
{
    all->items = kage_array_grow(all->items, &all->cap, all->n + 1, sizeof(*all->items));
    /* of its exact size, so that a sanitizer sees a byte read beyond it */
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    all->items[all->n++] = (struct text){copy, size};
}

static void done(struct texts *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->items[i].data);
    free(all->items);
}

static void read_file(struct texts *all, const char *path)
{
    uint8_t *data = kage_alloc(16 * INPUT_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, data, 16 * INPUT_MAX);
    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    add(all, data, (size_t)n);
    close(fd);
    free(data);
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

/* Folders are read one level deep, by name, so that the order is the same everywhere. */
static void read_seeds(struct texts *all, const char *path)
{
    struct dirent **entries;
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        read_file(all, path);
        return;
    }
    int n = scandir(path, &entries, visible, alphasort);
    for (int i = 0; i < n; i++) {
        char *file = kage_asprintf("%s/%s", path, entries[i]->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
            read_file(all, file);
        free(file);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

/* libFuzzer's form: one "word" a line, with \xNN, \\ and \". */
static void read_dictionary(struct texts *all, const char *path)
{
    char line[256];
    FILE *f = fopen(path, "re");
    if (!f) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof(line), f)) {
        uint8_t word[256];
        size_t n = 0;
        unsigned byte;
        char *s = strchr(line, '"'), *end = strrchr(line, '"');
        if (line[0] == '#' || !s || end == s)
            continue;
        for (s++; s < end; s++) {
            if (*s == '\\' && sscanf(s, "\\x%2x", &byte) == 1) {
                word[n++] = (uint8_t)byte;
                s += 3;
            } else {
                s += *s == '\\';
                word[n++] = (uint8_t)*s;
            }
        }
        add(all, word, n);
    }
    fclose(f);
}

/* Puts `n` bytes in the place of `gone` ones. */
static void replace_part(struct text *t, size_t at, size_t gone, const uint8_t *data, size_t n)
{
    if (t->size - gone + n > INPUT_MAX)
        return;
    uint8_t *tail = kage_memdup(t->data + at + gone, t->size - at - gone);
    if (n)
        memmove(t->data + at, data, n);
    memcpy(t->data + at + n, tail, t->size - at - gone);
    t->size += n - gone;
    free(tail);
}

static void mutate(struct text *t, const struct texts *seeds, const struct texts *words)
{
    size_t at = draw((uint32_t)t->size + 1), left = t->size - at;
    size_t n = 1 + draw(1u << draw(8));
    uint8_t bytes[256];
    size_t gone = n < left ? n : left;
    switch (draw(8)) {
    case 0: /* some byte becomes another */
        if (left)
            t->data[at] = (uint8_t)draw(256);
        break;
    case 1: /* a bit turns */
        if (left)
            t->data[at] ^= (uint8_t)(1u << draw(8));
        break;
    case 2: /* a part goes */
        replace_part(t, at, gone, NULL, 0);
        break;
    case 3: /* one byte many times */
        memset(bytes, (int)draw(256), sizeof(bytes));
        replace_part(t, at, 0, bytes, n > sizeof(bytes) ? sizeof(bytes) : n);
        break;
    case 4: /* a part again, elsewhere */
        if (gone) {
            uint8_t *copy = kage_memdup(t->data + at, gone);
            replace_part(t, draw((uint32_t)t->size + 1), 0, copy, gone);
            free(copy);
        }
        break;
    case 5: /* a part of another seed */
    {
        const struct text *other = &seeds->items[draw((uint32_t)seeds->n)];
        size_t from = draw((uint32_t)other->size + 1);
        size_t part = other->size - from < 4 * n ? other->size - from : 4 * n;
        replace_part(t, at, draw(2) ? gone : 0, other->data + from, part);
        break;
    }
    case 6: /* a word */
        if (words->n) {
            const struct text *word = &words->items[draw((uint32_t)words->n)];
            replace_part(t, at, draw(2) ? gone : 0, word->data, word->size);
        }
        break;
    default: /* a number at an edge */
    {
        static const char *const edges[] = {"0",          "-1",         "255",
                                            "256",        "65536",      "1.5",
                                            "2147483648", "4294967296", "9007199254740993",
                                            "1e99"};
        const char *edge = edges[draw(sizeof(edges) / sizeof(edges[0]))];
        size_t digits = 0;
        while (digits < left && t->data[at + digits] >= '0' && t->data[at + digits] <= '9')
            digits++;
        replace_part(t, at, digits, (const uint8_t *)edge, strlen(edge));
        break;
    }
    }
}

static void run_mutants(const struct texts *seeds, const struct texts *words, unsigned long runs)
{
    struct text t = {kage_alloc(INPUT_MAX + 512), 0};
    for (unsigned long i = 0; i < runs; i++) {
        const struct text *seed = &seeds->items[draw((uint32_t)seeds->n)];
        t.size = seed->size < INPUT_MAX ? seed->size : INPUT_MAX;
        memcpy(t.data, seed->data, t.size);
        for (uint32_t n = 1 + draw(6); n; n--)
            mutate(&t, seeds, words);
        uint8_t *exact = malloc(t.size ? t.size : 1);
        memcpy(exact, t.data, t.size);
        run(exact, t.size);
        free(exact);
    }
    free(t.data);
}

int main(int argc, char **argv)
{
    struct texts seeds = {0}, words = {0};
    unsigned long runs = 0, seed = 1;
    name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-runs=", 6) == 0)
            runs = strtoul(argv[i] + 6, NULL, 10);
        else if (strncmp(argv[i], "-seed=", 6) == 0)
            seed = strtoul(argv[i] + 6, NULL, 10);
        else if (strncmp(argv[i], "-dict=", 6) == 0)
            read_dictionary(&words, argv[i] + 6);
        else
            read_seeds(&seeds, argv[i]);
    }
    state = 0x9E3779B97F4A7C15ull * (seed + 1);
    if (!seeds.n)
        add(&seeds, (const uint8_t *)"", 0);
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    signal(SIGXCPU, on_signal);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(keep_current);
    for (size_t i = 0; i < seeds.n; i++)
        run(seeds.items[i].data, seeds.items[i].size);
    run_mutants(&seeds, &words, runs);
    printf("%zu seeds, %lu mutants\n", seeds.n, runs);
    done(&seeds);
    done(&words);
    return 0;
}
