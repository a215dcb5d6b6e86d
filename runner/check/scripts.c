#include <ctype.h>
#include <string.h>

#include "runner/check/checks.h"

/*
 * Shell text, read once from start to end: what only bash knows in a script for sh, and pipes that
 * lose the status of what they are there to run. This is no parser of the shell language. It knows
 * quotes, comments, here-documents and where a command begins, and keeps still about all else.
 */

/* So many of one kind are reported in one script; the rest are like them. */
#define MAX_REPORTS 5

struct scan {
    const struct kage_draft_command *of;
    struct kage_diags *diags;
    const char *s; /* the next character */
    int line;      /* of the file, at s */
    bool block;    /* the script has a line of the file for each of its own */
    unsigned reports;
    bool at_command; /* a word here would be a command */
    bool in_test;    /* behind '[' */
    size_t depth;    /* of parentheses */
    char here[64];   /* the word that ends a here-document; empty: none */
    bool here_tabs;
    /* the pipe being read */
    const char *first, *last;
    int last_line;
    bool piped, condition;
};

static size_t word_length(const char *s)
{
    return strcspn(s, " \t\r\n;&|()<>`\"'");
}

static bool word_is(const char *s, const char *word)
{
    size_t n = strlen(word);
    return strncmp(s, word, n) == 0 && word_length(s) == n;
}

static bool is_one_of(const char *s, const char *const *words)
{
    for (; *words; words++)
        if (word_is(s, *words))
            return true;
    return false;
}

static void report(struct scan *c, const char *at, size_t len, const char *help)
{
    if (c->reports++ >= MAX_REPORTS)
        return;
    struct kage_finding *f = kage_diags_add(
        c->diags, K507_BASHISM, kage_check_place(c->of, c->line, at, len, c->diags),
        "'%s' is bash, and this script is for sh", kage_diags_show(c->diags, at, len));
    kage_finding_help(f, help ? "%s, or use shell: bash" : "%suse shell: bash", help ? help : "");
}

/* ${x//a/b} and the like. */
static void check_expansion(struct scan *c)
{
    const char *name = c->s + 2, *p = name;
    if (*p == '!' && (isalpha((unsigned char)p[1]) || p[1] == '_')) {
        report(c, c->s, 3, NULL);
        return;
    }
    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    if (p > name && (*p == '/' || *p == '^' || *p == ',' || *p == '['))
        report(c, c->s, (size_t)(p - c->s) + 1, *p == '/' ? "use sed" : NULL);
}

static void skip(struct scan *c, size_t n)
{
    for (; n && *c->s; n--)
        c->line += *c->s++ == '\n' && c->block;
}

static void skip_to(struct scan *c, char end)
{
    skip(c, 1);
    while (*c->s && *c->s != end)
        skip(c, *c->s == '\\' && end == '"' && c->s[1] ? 2 : 1);
    skip(c, 1);
}

static void skip_double_quotes(struct scan *c)
{
    skip(c, 1);
    while (*c->s && *c->s != '"') {
        if (c->s[0] == '$' && c->s[1] == '{')
            check_expansion(c);
        skip(c, *c->s == '\\' && c->s[1] ? 2 : 1);
    }
    skip(c, 1);
}

static void read_here_word(struct scan *c)
{
    skip(c, 2);
    c->here_tabs = *c->s == '-';
    skip(c, c->here_tabs);
    skip(c, strspn(c->s, " \t"));
    char quote = *c->s == '\'' || *c->s == '"' ? *c->s : '\0';
    skip(c, quote != '\0');
    size_t n = 0;
    for (; (isalnum((unsigned char)*c->s) || *c->s == '_') && n + 1 < sizeof(c->here); skip(c, 1))
        c->here[n++] = *c->s;
    c->here[n] = '\0';
    skip(c, quote && *c->s == quote);
}

/* At the line behind a command with a here-document. */
static void skip_here_document(struct scan *c)
{
    size_t n = strlen(c->here);
    while (*c->s) {
        const char *line = c->s;
        if (c->here_tabs)
            line += strspn(line, "\t");
        bool end = strncmp(line, c->here, n) == 0 && strchr("\r\n", line[n]) != NULL;
        skip(c, strcspn(c->s, "\n") + (end ? 0 : 1));
        if (end)
            break;
    }
    c->here[0] = '\0';
}

static void end_pipe(struct scan *c)
{
    /* what reads to the end and then says that all is well */
    static const char *const filters[] = {"tee", "ts",  "cat", "tail", "head",
                                          "sed", "awk", "xz",  "gzip", NULL};
    /* what is not run for its status */
    static const char *const sources[] = {
        "echo",   "printf",   "cat",     "ls",      "ps",      "dmesg", "env",        "id",
        "find",   "grep",     "sed",     "awk",     "date",    "uname", "df",         "du",
        "mount",  "ip",       "ss",      "sort",    "cut",     "head",  "tail",       "seq",
        "yes",    "lsmod",    "free",    "stat",    "file",    "which", "journalctl", "tr",
        "xz",     "gzip",     "zcat",    "wc",      "hexdump", "od",    "base64",     "set",
        "export", "strings",  "readelf", "objdump", "nm",      "ldd",   "lsblk",      "top",
        "uptime", "printenv", "tac",     "rev",     "nl",      "uniq",  NULL};
    const char *first = c->first, *last = c->last;
    bool judged = c->piped && !c->condition && first && last;
    c->first = c->last = NULL;
    c->piped = c->condition = false;
    if (!judged || !is_one_of(last, filters) || is_one_of(first, sources) ||
        !(isalnum((unsigned char)*first) || strchr("./_", *first)))
        return;
    struct kage_span at = kage_check_place(c->of, c->last_line, last, word_length(last), c->diags);
    size_t n = word_length(first);
    struct kage_finding *f =
        kage_diags_add(c->diags, K503_PIPE_STATUS, at, "if '%s' fails, this pipe still succeeds",
                       kage_diags_show(c->diags, first, n));
    kage_finding_help(f, "use shell: bash, where a pipe fails when a part of it does");
}

static void on_command_word(struct scan *c)
{
    static const char *const leaders[] = {"then", "do", "else", "{",     "!",     "time",
                                          "exec", "if", "elif", "while", "until", NULL};
    static const char *const conditions[] = {"if", "elif", "while", "until", "!", NULL};
    static const struct {
        const char *word, *help;
    } bash[] = {
        {"[[", "write [ ... ]"}, {"source", "write '.'"}, {"function", "write name() { ...; }"},
        {"declare", NULL},       {"shopt", NULL},         {"pushd", NULL},
        {"popd", NULL},          {"mapfile", NULL},       {"readarray", NULL},
    };
    const char *s = c->s;
    if (is_one_of(s, leaders)) {
        c->condition |= c->depth == 0 && is_one_of(s, conditions);
        skip(c, word_length(s));
        return;
    }
    for (size_t i = 0; i < sizeof(bash) / sizeof(bash[0]); i++)
        if (word_is(s, bash[i].word))
            report(c, s, strlen(bash[i].word), bash[i].help);
    size_t name = 0;
    while (isalnum((unsigned char)s[name]) || s[name] == '_')
        name++;
    if (name && s[name] == '=' && s[name + 1] == '(')
        report(c, s, name + 2, NULL);
    bool assigns = name && s[name] == '=';
    if (!assigns && c->depth == 0) {
        if (!c->first)
            c->first = s;
        c->last = s;
        c->last_line = c->line;
    }
    c->in_test = word_is(s, "[");
    c->at_command = assigns;
    size_t n = strcspn(s, " \t\r\n;&|()<>`\"'$\\"); /* the word, or its part before a '$' */
    skip(c, n > 0 ? n : 1);
}

static void open_parens(struct scan *c, size_t n)
{
    skip(c, n);
    c->depth++;
    c->at_command = true;
}

static bool on_operator(struct scan *c)
{
    const char *s = c->s;
    if (s[0] == '<' && s[1] == '<' && s[2] == '<') {
        report(c, s, 3, "use printf and a pipe");
        skip(c, 3);
    } else if (s[0] == '<' && s[1] == '<') {
        read_here_word(c);
    } else if ((s[0] == '<' || s[0] == '>') && s[1] == '(') {
        report(c, s, 2, NULL);
        open_parens(c, 2);
    } else if (s[0] == '&' && s[1] == '>') {
        report(c, s, 2, "write >FILE 2>&1");
        skip(c, 2);
    } else if (s[0] == '>' && s[1] == '&') {
        skip(c, 2);
    } else if (s[0] == '|' && s[1] == '&') {
        report(c, s, 2, "write 2>&1 |");
        skip(c, 2);
        c->at_command = true;
    } else if (s[0] == '|' && s[1] != '|') {
        c->piped |= c->depth == 0;
        c->at_command = true;
        skip(c, s[1] == '&' ? 2 : 1);
    } else if (s[0] == '\n' && c->at_command && !c->here[0]) {
        skip(c, 1); /* an empty line, or the rest of a pipe on the next one */
    } else if (strchr("|&;\n", s[0])) {
        if (c->depth == 0)
            end_pipe(c);
        c->at_command = true;
        c->in_test = false;
        skip(c, s[0] != '\n' && s[1] == s[0] ? 2 : 1);
        if (s[0] == '\n' && c->here[0])
            skip_here_document(c);
    } else if (s[0] == '(' && s[1] == '(' && c->at_command) {
        report(c, s, 2, "write [ $((...)) -ne 0 ]");
        skip(c, 2);
        c->at_command = false;
    } else if (s[0] == '(') {
        open_parens(c, 1);
    } else if (s[0] == ')') {
        skip(c, 1);
        /* one without its '(' ends a pattern of 'case' */
        c->at_command = c->depth == 0;
        c->depth -= c->depth > 0;
    } else {
        return false;
    }
    return true;
}

static void on_dollar(struct scan *c)
{
    const char *s = c->s;
    c->at_command = false;
    if (s[1] == '(' && s[2] == '(') {
        const char *end = strstr(s, "))");
        skip(c, end ? (size_t)(end - s) + 2 : strlen(s));
    } else if (s[1] == '(') {
        open_parens(c, 2);
    } else if (s[1] == '{') {
        check_expansion(c);
        size_t n = strcspn(s, "}\n");
        skip(c, n + (s[n] == '}'));
    } else {
        skip(c, 1);
    }
}

static void scan_script(struct scan *c)
{
    const char *run = c->s;
    c->at_command = true;
    while (*c->s) {
        bool word_start = c->s == run || strchr(" \t\n;&|(", c->s[-1]);
        if (*c->s == '\\' && c->s[1])
            skip(c, 2);
        else if (*c->s == '\'')
            skip_to(c, '\'');
        else if (*c->s == '"')
            skip_double_quotes(c);
        else if (*c->s == '#' && word_start)
            skip(c, strcspn(c->s, "\n"));
        else if (*c->s == '$')
            on_dollar(c);
        else if (on_operator(c))
            continue;
        else if (isspace((unsigned char)*c->s))
            skip(c, 1);
        else if (c->at_command && word_start)
            on_command_word(c);
        else {
            if (c->in_test && word_start && word_is(c->s, "=="))
                report(c, c->s, 2, "write '='");
            c->at_command = false;
            skip(c, 1);
        }
    }
    end_pipe(c);
}

void kage_check_scripts(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_commands; i++) {
        const struct kage_draft_command *d = &draft->commands[i];
        if (!d->command.run || !d->command.shell || strcmp(d->command.shell, "sh") != 0 ||
            strstr(d->command.run, "pipefail"))
            continue;
        struct scan c = {.of = d, .diags = diags, .s = d->command.run};
        c.block = d->what_at.width == 1;
        c.line = d->what_at.loc.line + c.block;
        scan_script(&c);
    }
}
