#include "runner/help_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/verbs.h"

/* Runs `VERB --help` with standard output led into memory. */
static char *capture(const struct kage_verb *verb)
{
    KAGE_CLEANUP(kage_closep) int memory = memfd_create("help", MFD_CLOEXEC);
    KAGE_CLEANUP(kage_closep) int saved = dup(STDOUT_FILENO);
    char *args[] = {kage_strdup(verb->name), (char[]){"--help"}, NULL};
    struct kage_buf text = {0};
    fflush(stdout);
    if (memory >= 0 && saved >= 0 && dup2(memory, STDOUT_FILENO) >= 0) {
        verb->run(2, args);
        fflush(stdout);
        dup2(saved, STDOUT_FILENO);
        char chunk[4096];
        ssize_t n;
        for (off_t at = 0; (n = pread(memory, chunk, sizeof(chunk), at)) > 0; at += n)
            kage_buf_add(&text, chunk, (size_t)n);
    }
    free(args[0]);
    return kage_buf_take(&text);
}

static void add_text(char **to, const char *text, size_t n, const char *sep)
{
    char *longer = kage_asprintf("%s%s%.*s", *to ? *to : "", *to && **to ? sep : "", (int)n, text);
    free(*to);
    *to = longer;
}

/* "-f, --format=human|json  what it does", or with a blank in front of the value. Words in capitals
 * or with '|' are values. */
static bool read_option(const char *line, size_t n, struct kage_help_option *ret)
{
    const char *p = line + strspn(line, " "), *end = line + n;
    if (p - line < 2 || p - line > 8 || *p != '-')
        return false;
    *ret = (struct kage_help_option){0};
    if (p[1] != '-') {
        ret->letter = kage_strndup(p, 2);
        p += 2;
        if (p + 1 < end && p[0] == ',' && p[1] == ' ')
            p += 2;
    }
    if (p + 1 < end && p[0] == '-' && p[1] == '-') {
        size_t len = strcspn(p, " =\n");
        ret->name = kage_strndup(p, len);
        p += len;
    }
    if (p < end && (*p == '=' || (*p == ' ' && p + 1 < end && p[1] != ' '))) {
        size_t len = 1;
        while (p + len < end && !(p[len] == ' ' && (p + len + 1 >= end || p[len + 1] == ' ')))
            len++;
        ret->value = kage_strndup(p + 1, len - 1);
        p += len;
    }
    while (p < end && *p == ' ')
        p++;
    ret->text = kage_strndup(p, (size_t)(end - p));
    return true;
}

void kage_help_read(const struct kage_verb *verb, struct kage_help *ret)
{
    *ret = (struct kage_help){0};
    KAGE_CLEANUP(kage_freep) char *text = capture(verb);
    enum { USAGE, TEXT, OPTIONS, REST } part = USAGE;
    size_t cap = 0;
    for (char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        struct kage_help_option option;
        bool indented = line[0] == ' ' && line[1] == ' ';
        if (part == USAGE && n &&
            (strncasecmp(line, "usage: ", 7) == 0 || strncmp(line, "       ", 7) == 0)) {
            add_text(&ret->usage, line + 7, n - 7, "\n");
        } else if (part != REST && read_option(line, n, &option)) {
            part = OPTIONS;
            ret->options =
                kage_array_grow(ret->options, &cap, ret->n_options + 1, sizeof(*ret->options));
            ret->options[ret->n_options++] = option;
        } else if (part == OPTIONS && indented && n > 2) {
            const char *more = line + strspn(line, " ");
            add_text(&ret->options[ret->n_options - 1].text, more, n - (size_t)(more - line), " ");
        } else if (part == OPTIONS && n == 0) {
            ; /* more options may follow */
        } else {
            bool heading = strncmp(line, "options:", 8) == 0;
            part = part == OPTIONS || part == REST ? REST : TEXT;
            if (!heading)
                add_text(part == REST ? &ret->rest : &ret->text, line, n, "\n");
        }
        line += n + (line[n] == '\n');
    }
    for (size_t i = 0; ret->text && (i = strlen(ret->text)) && ret->text[i - 1] == '\n';)
        ret->text[i - 1] = '\0';
}

void kage_help_done(struct kage_help *help)
{
    for (size_t i = 0; i < help->n_options; i++) {
        free(help->options[i].letter);
        free(help->options[i].name);
        free(help->options[i].value);
        free(help->options[i].text);
    }
    free(help->options);
    free(help->usage);
    free(help->text);
    free(help->rest);
    *help = (struct kage_help){0};
}
