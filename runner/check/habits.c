#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/check/checks.h"

/*
 * What goes wrong often in specs that are well formed. These are guesses about shell text, so each
 * is a warning, and each looks only at what cannot well be meant otherwise: the first word of a
 * simple command, an argument that is an operator and nothing else.
 */

/* Copies the next simple command of a script to out, its words separated by single spaces.
 * Comments are left out; quotes are kept as they are. *start is where it begins. Returns false at
 * the end. */
static bool next_command(const char **script, struct kage_buf *out, const char **start)
{
    const char *s = *script;
    while (*s && (isspace((unsigned char)*s) || strchr(";&|()", *s)))
        s++;
    if (!*s)
        return false;
    kage_buf_clear(out);
    *start = s;
    char quote = '\0';
    for (; *s; s++) {
        if (quote) {
            if (*s == quote)
                quote = '\0';
        } else if (*s == '"' || *s == '\'') {
            quote = *s;
        } else if (*s == '\\' && s[1] == '\n') {
            s++;
            kage_buf_addc(out, ' ');
            continue;
        } else if (*s == '#' && (out->len == 0 || out->data[out->len - 1] == ' ')) {
            s += strcspn(s, "\n");
            break;
        } else if (strchr("\n;&|()", *s)) {
            break;
        }
        bool blank = !quote && isspace((unsigned char)*s);
        if (!blank)
            kage_buf_addc(out, *s);
        else if (out->len && out->data[out->len - 1] != ' ')
            kage_buf_addc(out, ' ');
    }
    *script = s;
    return true;
}

/* Whether `words` (separated by single spaces) has `word` among them. */
static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' '))
            return true;
    return false;
}

static bool first_word_is(const char *words, const char *word)
{
    size_t n = strlen(word);
    return strncmp(words, word, n) == 0 && (words[n] == '\0' || words[n] == ' ');
}

static bool installs_packages(const char *command)
{
    static const struct {
        const char *program, *verb;
    } managers[] = {
        {"apt-get", "install"}, {"apt", "install"},   {"apt-get", "update"}, {"apt", "update"},
        {"apk", "add"},         {"dnf", "install"},   {"yum", "install"},    {"zypper", "install"},
        {"pip", "install"},     {"pip3", "install"},  {"npm", "install"},    {"npm", "ci"},
        {"gem", "install"},     {"cargo", "install"},
    };
    static const char *const offline[] = {"--no-index", "--offline", "--no-network",
                                          "--no-download"};
    if (first_word_is(command, "sudo"))
        command += strlen("sudo") + (command[strlen("sudo")] == ' ');
    for (size_t i = 0; i < sizeof(offline) / sizeof(offline[0]); i++)
        if (has_word(command, offline[i]))
            return false;
    for (size_t i = 0; i < sizeof(managers) / sizeof(managers[0]); i++)
        if (first_word_is(command, managers[i].program) && has_word(command, managers[i].verb))
            return true;
    return false;
}

/* A simple command and where to find it: `line` is counted on from command to command, so that a
 * long script is walked once. */
struct simple_command {
    const struct kage_draft_command *of;
    const char *words;
    const char *start; /* NULL: it is an argv, not a part of a script */
    int line;
};

/* So far a line is searched for the place of a part of it; finding many in a longer one would take
 * long. */
#define LONG_LINE 512
/* Findings of this kind in one script; who has read so many knows. */
#define ENOUGH 500

struct kage_span kage_check_place(const struct kage_draft_command *d, int line, const char *part,
                                  size_t len, struct kage_diags *diags)
{
    struct kage_span at = d->what_at, whole = at;
    const char *run = d->command.run, *start = part;
    while (start > run && start[-1] != '\n' && part - start < LONG_LINE)
        start--;
    size_t n = 0;
    while (n < LONG_LINE && start[n] && start[n] != '\n')
        n++;
    bool short_line = part - start < LONG_LINE && n < LONG_LINE;
    if (!short_line || !kage_diags_find(diags, at.loc.file, line, start, n, &whole)) {
        kage_diags_find(diags, at.loc.file, line, part, len, &at);
        return at;
    }
    for (const char *p = start; p < part; p++)
        whole.loc.col += (*p & 0xc0) != 0x80;
    whole.width = (int)len;
    return whole;
}

static struct kage_span place_of(const struct simple_command *c, struct kage_diags *diags)
{
    if (!c->start)
        return c->of->what_at;
    return kage_check_place(c->of, c->line, c->start, strcspn(c->start, " \t\r\n;&|()"), diags);
}

/* Returns how much it found. */
static unsigned check_simple_command(const struct simple_command *c, struct kage_diags *diags)
{
    struct kage_finding *f;
    unsigned found = 0;

    if (!c->of->command.network && installs_packages(c->words)) {
        f = kage_diags_add(diags, K501_INSTALL_OFFLINE, place_of(c, diags),
                           "this installs packages, and the command has no network");
        kage_finding_help(f, "write 'network: on' for the job, or put the packages into the image");
        found++;
    }
    if (first_word_is(c->words, "sudo")) {
        f = kage_diags_add(diags, K506_SUDO, place_of(c, diags), "sudo cannot gain anything here");
        kage_finding_help(f, "leave it out and give the command 'user: root'");
        found++;
    }
    return found;
}

/* In double quotes they are written \r; what follows is \n in all likelihood and stays. */
static void fix_returns(struct kage_finding *f, struct kage_diags *diags)
{
    size_t n;
    const char *text = kage_diags_text(diags, &f->at, &n);
    if (!text || *text != '"')
        return;
    KAGE_CLEANUP(kage_buf_done) struct kage_buf out = {0};
    for (size_t i = 0; i < n; i++) {
        bool escape = text[i] == '\\' && i + 1 < n;
        if (escape && text[i + 1] != 'r')
            kage_buf_addc(&out, text[i]);
        if (!escape || text[i + 1] != 'r')
            kage_buf_addc(&out, text[i + escape]);
        i += escape;
    }
    kage_finding_fix(diags, f, f->at, out.data);
}

/* `["make check"]` with nothing that a shell would have to take apart: two words. */
static void fix_words(struct kage_finding *f, const struct kage_draft_command *d,
                      struct kage_diags *diags)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-= ";
    const char *program = d->command.argv[0];
    size_t n = strlen(program);
    struct kage_span at;
    if (strspn(program, plain) != n || *program == ' ' || program[n - 1] == ' ' ||
        strstr(program, "  "))
        return;
    KAGE_CLEANUP(kage_buf_done) struct kage_buf words = {0};
    for (const char *p = program; *p; p++)
        kage_buf_addf(&words, *p == ' ' ? ", " : "%c", *p);
    for (int quoted = 0; quoted < 3; quoted++) {
        const char *quote = quoted == 0 ? "" : quoted == 1 ? "\"" : "'";
        KAGE_CLEANUP(kage_freep) char *item = kage_asprintf("[%s%s%s]", quote, program, quote);
        KAGE_CLEANUP(kage_freep) char *list = kage_asprintf("[%s]", words.data);
        if (!kage_diags_find(diags, f->at.loc.file, f->at.loc.line, item, strlen(item), &at))
            continue;
        kage_finding_fix(diags, f, at, list);
        return;
    }
}

static void check_script(const struct kage_draft_command *d, struct kage_diags *diags)
{
    const char *run = d->command.run;
    size_t n = strlen(run);
    while (n && isspace((unsigned char)run[n - 1]))
        n--;
    if (n && run[n - 1] == '&' && !(n > 1 && run[n - 2] == '&')) {
        struct kage_finding *f = kage_diags_add(diags, K505_TRAILING_AMPERSAND, d->what_at,
                                                "the script ends with something in the background");
        kage_finding_help(f, "do in the same script what needs it, or 'wait' for it");
    }
    if (strchr(run, '\r')) {
        struct kage_finding *f =
            kage_diags_add(diags, K508_CRLF_IN_RUN, d->what_at, "the script has carriage returns");
        kage_finding_help(f, "write \\n alone, or a block with '|'");
        fix_returns(f, diags);
    }
    KAGE_CLEANUP(kage_buf_done) struct kage_buf words = {0};
    struct simple_command c = {.of = d, .line = d->what_at.loc.line};
    bool block = d->what_at.width == 1; /* on more than one line of the file */
    c.line += block;
    unsigned found = 0;
    for (const char *seen = run; found < ENOUGH && next_command(&run, &words, &c.start);) {
        for (; seen < c.start; seen++)
            c.line += block && *seen == '\n';
        c.words = words.data;
        if (c.words)
            found += check_simple_command(&c, diags);
    }
}

static bool is_shell_syntax(const char *arg)
{
    static const char *const operators[] = {"&&", "||", "|", ";", ">", ">>", "<", "2>&1", "&"};
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
        if (strcmp(arg, operators[i]) == 0)
            return true;
    if (arg[0] != '$')
        return false;
    if (arg[1] == '(')
        return true;
    size_t n = 0;
    while (isalnum((unsigned char)arg[1 + n]) || arg[1 + n] == '_')
        n++;
    return n > 0 && !isdigit((unsigned char)arg[1]) && arg[1 + n] == '\0';
}

static void check_argv(const struct kage_draft_command *d, struct kage_diags *diags)
{
    const struct kage_spec_command *c = &d->command;
    struct kage_finding *f;
    if (c->n_argv == 1 && strchr(c->argv[0], ' ')) {
        f = kage_diags_add(diags, K504_SHELL_IN_EXEC, d->what_at,
                           "exec starts one program, and '%s' has a space in its name",
                           kage_diags_show(diags, c->argv[0], strlen(c->argv[0])));
        kage_finding_help(f, "make each word an item of its own, or use 'run'");
        fix_words(f, d, diags);
        return;
    }
    KAGE_CLEANUP(kage_buf_done) struct kage_buf words = {0};
    for (size_t i = 0; i < c->n_argv; i++) {
        kage_buf_addf(&words, "%s%s", i ? " " : "", c->argv[i]);
        if (i == 0 || !is_shell_syntax(c->argv[i]))
            continue;
        f = kage_diags_add(diags, K504_SHELL_IN_EXEC, d->what_at,
                           "'%s' means nothing to exec: no shell is involved",
                           kage_diags_show(diags, c->argv[i], strlen(c->argv[i])));
        kage_finding_help(f, "use 'run' for a script");
    }
    if (words.data)
        check_simple_command(&(struct simple_command){.of = d, .words = words.data}, diags);
}

static bool is_home(const char *path)
{
    const char *home = getenv("HOME");
    return home && *home && strcmp(home, path) == 0;
}

static bool is_repository(const char *path)
{
    KAGE_CLEANUP(kage_freep) char *git = kage_asprintf("%s/.git", path);
    struct stat st;
    return stat(git, &st) == 0;
}

static void check_writable_share(const struct kage_draft_share *d, struct kage_diags *diags)
{
    if (!d->share.path || !d->share.writable)
        return;
    const char *what = is_home(d->share.path)         ? "the home folder"
                       : is_repository(d->share.path) ? "a whole repository"
                                                      : NULL;
    if (!what)
        return;
    struct kage_finding *f =
        kage_diags_add(diags, K406_WRITABLE_ROOT, d->writable_at, "the guest may change %s", what);
    kage_finding_help(f, "share it read-only, and a folder for results writable");
}

void kage_check_habits(const struct kage_draft *draft, struct kage_diags *diags)
{
    for (size_t i = 0; i < draft->n_shares; i++)
        check_writable_share(&draft->shares[i], diags);
    for (size_t i = 0; i < draft->n_commands; i++) {
        const struct kage_draft_command *d = &draft->commands[i];
        if (d->command.run)
            check_script(d, diags);
        else if (d->command.n_argv)
            check_argv(d, diags);
        if (d->command.sandbox == KAGE_SANDBOX_NONE && d->command.network)
            kage_diags_add(diags, K408_UNCONFINED, d->sandbox_at.loc.line ? d->sandbox_at : d->at,
                           "this command has a network and no sandbox");
    }
}
