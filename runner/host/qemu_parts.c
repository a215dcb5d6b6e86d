#include "runner/host/qemu_parts.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/host/cache.h"
#include "runner/host/child.h"
#include "runner/plan/options.h"

/*
 * Distributions build QEMU with different parts: Red Hat's has no 9p, some have
 * no user network (libslirp) or no seccomp. `-device help` and its like list
 * what there is; what plans can ask for stands in the table of options.
 */

#define QUESTION_TIMEOUT_MS 20000

/* How a word that is there shows in the list. */
static const struct {
    const char *flag;
    const char *before, *after;
} questions[] = {
    {"-device", "name \"", "\""},
    {"-machine", "\n", " "},
    {"-accel", "\n", "\n"},
    {"-netdev", "\n", "\n"},
};

/* What QEMU prints; NULL when it does not answer. Owned. */
static char *ask(const char *qemu, const char *flag, const char *value, const char *flag2,
                 const char *value2)
{
    const char *argv[] = {qemu, "-nodefaults", flag, value, flag2, value2, NULL};
    struct kage_child child;
    char *text = NULL;

    if (kage_child_run(argv, -1, QUESTION_TIMEOUT_MS, NULL, &child, NULL) < 0)
        return NULL;
    /* The line break in front makes the first line one like the others. */
    if (!child.timed_out && WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0 &&
        child.out.len)
        text = kage_asprintf("\n%s", child.out.data);
    kage_child_done(&child);
    return text;
}

/* Adds those words of a table that the list does not have. */
static void compare(const char *list, size_t question, struct kage_buf *lacks)
{
    const char *flag = questions[question].flag;

    for (const char *word = kage_cmdline_words(flag); word && *word;) {
        size_t n = strcspn(word, " ");
        KAGE_CLEANUP(kage_freep)
        char *shown = kage_asprintf("%s%.*s%s", questions[question].before, (int)n, word,
                                    questions[question].after);

        if (!strstr(list, shown))
            kage_buf_addf(lacks, "%s %.*s\n", flag, (int)n, word);
        word += n + (word[n] == ' ');
    }
}

static char *ask_all(const struct kage_host_facts *facts)
{
    struct kage_buf lacks = {0};

    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        KAGE_CLEANUP(kage_freep)
        char *list = ask(facts->qemu, questions[i].flag, "help", NULL, NULL);

        if (!list) {
            kage_buf_done(&lacks);
            return NULL;
        }
        compare(list, i, &lacks);
    }
    /* A QEMU without seccomp refuses the option before it answers anything. */
    if (strcmp(facts->os, "linux") == 0) {
        KAGE_CLEANUP(kage_freep)
        char *list = ask(facts->qemu, "-sandbox", KAGE_QEMU_SANDBOX, "-device", "help");

        if (!list)
            kage_buf_addf(&lacks, "-sandbox %s\n", KAGE_QEMU_SANDBOX);
    }
    return kage_buf_take(&lacks);
}

void kage_host_ask_qemu_parts(struct kage_host_facts *facts)
{
    const char *slash = strrchr(facts->qemu, '/');
    KAGE_CLEANUP(kage_freep)
    char *name = kage_asprintf("%s-lacks", slash ? slash + 1 : facts->qemu);
    KAGE_CLEANUP(kage_freep) char *key = NULL;
    struct stat st;

    if (stat(facts->qemu, &st) < 0)
        return;
    /* An answer says nothing about words that plans did not have when it was given. */
    key = kage_asprintf("1 %s %llu %lld %lld %s", facts->qemu, (unsigned long long)st.st_size,
                        (long long)st.st_mtime, (long long)st.st_ctime,
                        kage_cmdline_words("-device"));
    facts->qemu_lacks = kage_host_cache_get(name, key, 0);
    if (facts->qemu_lacks)
        return;
    facts->qemu_lacks = ask_all(facts);
    if (facts->qemu_lacks)
        kage_host_cache_put(name, key, facts->qemu_lacks);
}
