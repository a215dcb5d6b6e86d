#include <string.h>

#include "runner/verbs.h"

/* Verbs are added to this table and nowhere else: help, completion and manual pages read it. */
static const struct kage_verb verbs[] = {
    {"check", "find mistakes in specs, without running them", kage_verb_check},
    {"explain", "tell more about what check finds", kage_verb_explain},
    {"init", "write a first spec", kage_verb_init},
    {"plan", "show the machine and the messages a spec would run", kage_verb_plan},
    {"apply", "run a spec in a fresh virtual machine", kage_verb_apply},
    {"start", "start a machine that stays", kage_verb_start},
    {"ps", "list the machines that were started", kage_verb_ps},
    {"exec", "run a command in a machine", kage_verb_exec},
    {"shell", "open a shell in a machine", kage_verb_shell},
    {"web", "serve terminals on a machine to a web browser", kage_verb_web},
    {"cp", "copy files into a machine or out of it", kage_verb_cp},
    {"install", "put a program into a machine", kage_verb_install},
    {"logs", "print a machine's console", kage_verb_logs},
    {"stop", "end machines", kage_verb_stop},
    {"gc", "forget machines that have ended", kage_verb_gc},
    {"template", "look at the saved machines that runs start from", kage_verb_template},
    {"image", "build and look at the images machines boot from", kage_verb_image},
    {"schema", "print the JSON Schema of specs", kage_verb_schema},
    {"lsp", "serve editors that speak the Language Server Protocol", kage_verb_lsp},
    {"completion", "print completion for bash, zsh or fish", kage_verb_completion},
    {"manual", "print a manual page", kage_verb_manual},
};

const struct kage_verb *kage_verbs(size_t *n)
{
    *n = sizeof(verbs) / sizeof(verbs[0]);
    return verbs;
}

const struct kage_verb *kage_verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}
