#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "runner/help_text.h"
#include "runner/verbs.h"

/* Manual pages (man(7)) from the table of verbs and the help of each. */
enum { EXIT_USAGE = 2 };

static const char usage[] = "Usage: kage manual [VERB]\n"
                            "Print the manual page of kage, or of one of its verbs, for man(1).\n"
                            "\n"
                            "  -h, --help  show this help\n"
                            "\n"
                            "Exit codes: 0 done, 2 wrong usage.\n";

/* A line that starts with '.' or ''' would be a request; '-' in options must stay a minus. */
static void print_text(const char *s)
{
    bool line_start = true;
    for (; *s; s++) {
        if (line_start && (*s == '.' || *s == '\''))
            printf("\\&");
        if (*s == '\\')
            printf("\\e");
        else if (*s == '-')
            printf("\\-");
        else
            putchar(*s);
        line_start = *s == '\n';
    }
}

static void print_head(const char *page, const char *help)
{
    printf(".TH \"");
    for (const char *p = page; *p; p++)
        putchar(*p >= 'a' && *p <= 'z' ? *p - ('a' - 'A') : *p);
    printf("\" \"1\" \"\" \"kage " KAGE_VERSION "\" \"User Commands\"\n.SH NAME\n%s \\- %s\n", page,
           help);
}

/* Text as the help has it, its line breaks kept where lines are indented. */
static void print_paragraphs(const char *text)
{
    printf(".nf\n");
    print_text(text);
    printf("\n.fi\n");
}

static void print_verb(const struct kage_verb *verb)
{
    struct kage_help help;
    char page[64];
    kage_help_read(verb, &help);
    snprintf(page, sizeof(page), "kage-%s", verb->name);
    print_head(page, verb->help);
    printf(".SH SYNOPSIS\n");
    print_paragraphs(help.usage ? help.usage : "");
    printf(".SH DESCRIPTION\n");
    print_paragraphs(help.text ? help.text : "");
    if (help.n_options)
        printf(".SH OPTIONS\n");
    for (size_t i = 0; i < help.n_options; i++) {
        const struct kage_help_option *o = &help.options[i];
        printf(".TP\n.B ");
        print_text(o->letter ? o->letter : "");
        printf("%s", o->letter && o->name ? ", " : "");
        print_text(o->name ? o->name : "");
        if (o->value) {
            printf(" ");
            print_text(o->value);
        }
        printf("\n");
        print_text(o->text);
        printf("\n");
    }
    if (help.rest) {
        printf(".SH NOTES\n");
        print_paragraphs(help.rest);
    }
    printf(".SH SEE ALSO\n.BR kage (1)\n");
    kage_help_done(&help);
}

static void print_all(void)
{
    size_t n;
    const struct kage_verb *verbs = kage_verbs(&n);
    print_head("kage", "run the commands of a YAML spec in a virtual machine made for them");
    printf(".SH SYNOPSIS\n.B kage\n.I VERB\n.RI [ ARGUMENT ]...\n.SH DESCRIPTION\n"
           "A spec names an image, what the machine may see of the host, and commands.\n"
           "kage boots the image, runs the commands in it, and ends with their verdict.\n"
           ".SH VERBS\n");
    for (size_t i = 0; i < n; i++) {
        printf(".TP\n.BR kage\\-%s (1)\n", verbs[i].name);
        print_text(verbs[i].help);
        printf("\n");
    }
}

int kage_verb_manual(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? EXIT_USAGE : 0;
    if (argc > 2 || (argc == 2 && !kage_verb_find(argv[1]))) {
        kage_usage("manual", "there is no page '%s'", argv[argc - 1]);
        return EXIT_USAGE;
    }
    if (argc == 2)
        print_verb(kage_verb_find(argv[1]));
    else
        print_all();
    return fflush(stdout) != 0 || ferror(stdout) ? EXIT_USAGE : 0;
}
