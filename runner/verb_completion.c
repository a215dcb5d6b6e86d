#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "runner/help_text.h"
#include "runner/verbs.h"

/*
 * Scripts for three shells, made from the table of verbs and the help of each. Where a value is one
 * of several words (human|json) they are offered; anything else completes file names.
 */
enum { EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: kage completion bash|zsh|fish\n"
    "Print a script that teaches a shell to complete kage's verbs and options.\n"
    "\n"
    "  -h, --help  show this help\n"
    "\n"
    "bash  kage completion bash > ~/.local/share/bash-completion/completions/kage\n"
    "zsh   kage completion zsh > ~/.zfunc/_kage    (a folder of $fpath)\n"
    "fish  kage completion fish > ~/.config/fish/completions/kage.fish\n"
    "\n"
    "Exit codes: 0 done, 2 wrong usage.\n";

/* Whether a value is a choice of words. */
static bool is_choice(const char *value)
{
    return value && strchr(value, '|') && !strpbrk(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ");
}

static void print_words(const char *value)
{
    for (; *value; value++)
        putchar(*value == '|' ? ' ' : *value);
}

static void bash_verb(const struct kage_verb *verb)
{
    struct kage_help help;
    kage_help_read(verb, &help);
    printf("    %s)\n        case $prev in\n", verb->name);
    for (size_t i = 0; i < help.n_options; i++) {
        const struct kage_help_option *o = &help.options[i];
        if (!o->name || !is_choice(o->value))
            continue;
        printf("        %s) COMPREPLY=($(compgen -W '", o->name);
        print_words(o->value);
        printf("' -- \"$cur\")); return ;;\n");
    }
    printf("        esac\n        options='");
    const char *sep = "";
    for (size_t i = 0; i < help.n_options; i++) {
        if (help.options[i].name)
            printf("%s%s", sep, help.options[i].name);
        sep = " ";
    }
    printf("' ;;\n");
    kage_help_done(&help);
}

static void print_bash(const struct kage_verb *verbs, size_t n)
{
    printf("# bash completion of kage, made by 'kage completion bash'\n"
           "_kage() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} options=\n"
           "    if [[ $cur == = ]]; then cur=; fi\n"
           "    if [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
           "    if ((COMP_CWORD == 1)); then\n"
           "        COMPREPLY=($(compgen -W '--help --version help");
    for (size_t i = 0; i < n; i++)
        printf(" %s", verbs[i].name);
    printf("' -- \"$cur\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n    help)\n"
           "        COMPREPLY=($(compgen -W '");
    for (size_t i = 0; i < n; i++)
        printf("%s%s", i ? " " : "", verbs[i].name);
    printf("' -- \"$cur\")); return ;;\n");
    for (size_t i = 0; i < n; i++)
        bash_verb(&verbs[i]);
    printf("    esac\n"
           "    if [[ $cur == -* ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
           "    fi\n"
           "}\n"
           "complete -o default -F _kage kage\n");
}

/* Inside single quotes; zsh also takes [ ] : apart. */
static void print_quoted(const char *s, const char *special)
{
    for (; *s; s++) {
        if (*s == '\'')
            printf("'\\''");
        else if (strchr(special, *s))
            printf("\\%c", *s);
        else
            putchar(*s == '\n' ? ' ' : *s);
    }
}

static void zsh_verb(const struct kage_verb *verb)
{
    struct kage_help help;
    kage_help_read(verb, &help);
    printf("    %s)\n        _arguments -s", verb->name);
    for (size_t i = 0; i < help.n_options; i++) {
        const struct kage_help_option *o = &help.options[i];
        const char *names[] = {o->letter, o->name};
        for (int k = 0; k < 2; k++) {
            if (!names[k])
                continue;
            printf(" \\\n            '%s%s[", names[k], o->value && k ? "=" : o->value ? "+" : "");
            print_quoted(o->text, "[]:\\");
            printf("]");
            if (is_choice(o->value)) {
                printf(":value:(");
                print_words(o->value);
                printf(")");
            } else if (o->value) {
                printf(":value:_files");
            }
            printf("'");
        }
    }
    printf(" \\\n            '*:file:_files' ;;\n");
    kage_help_done(&help);
}

static void print_zsh(const struct kage_verb *verbs, size_t n)
{
    printf("#compdef kage\n# zsh completion of kage, made by 'kage completion zsh'\n"
           "_kage() {\n    local -a verbs=(\n");
    for (size_t i = 0; i < n; i++) {
        printf("        '%s:", verbs[i].name);
        print_quoted(verbs[i].help, ":\\");
        printf("'\n");
    }
    printf("    )\n    if ((CURRENT == 2)); then\n        _describe verb verbs\n        return\n"
           "    fi\n    local verb=$words[2]\n    shift words\n    ((CURRENT--))\n"
           "    case $verb in\n    help) _describe verb verbs ;;\n");
    for (size_t i = 0; i < n; i++)
        zsh_verb(&verbs[i]);
    printf("    esac\n}\n"
           "if [[ $funcstack[1] == _kage ]]; then _kage \"$@\"; else compdef _kage kage; fi\n");
}

static void fish_verb(const struct kage_verb *verb)
{
    struct kage_help help;
    kage_help_read(verb, &help);
    for (size_t i = 0; i < help.n_options; i++) {
        const struct kage_help_option *o = &help.options[i];
        printf("complete -c kage -n '__fish_seen_subcommand_from %s'", verb->name);
        if (o->letter)
            printf(" -s %c", o->letter[1]);
        if (o->name)
            printf(" -l %s", o->name + 2);
        if (is_choice(o->value)) {
            printf(" -x -a '");
            print_words(o->value);
            printf("'");
        } else if (o->value) {
            printf(" -r");
        }
        printf(" -d '");
        print_quoted(o->text, "\\");
        printf("'\n");
    }
    kage_help_done(&help);
}

static void print_fish(const struct kage_verb *verbs, size_t n)
{
    printf("# fish completion of kage, made by 'kage completion fish'\n");
    for (size_t i = 0; i < n; i++) {
        printf("complete -c kage -f -n __fish_use_subcommand -a %s -d '", verbs[i].name);
        print_quoted(verbs[i].help, "\\");
        printf("'\n");
    }
    for (size_t i = 0; i < n; i++)
        fish_verb(&verbs[i]);
}

int kage_verb_completion(int argc, char **argv)
{
    static const struct {
        const char *shell;
        void (*print)(const struct kage_verb *verbs, size_t n);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    size_t n;
    const struct kage_verb *verbs = kage_verbs(&n);
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? EXIT_USAGE : 0;
    for (size_t i = 0; argc == 2 && i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(argv[1], shells[i].shell) != 0)
            continue;
        shells[i].print(verbs, n);
        return fflush(stdout) != 0 || ferror(stdout) ? EXIT_USAGE : 0;
    }
    kage_usage("completion", "for bash, zsh or fish?");
    return EXIT_USAGE;
}
