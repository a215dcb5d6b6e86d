#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "runner/verbs.h"
#include "runner/vm/registry.h"
#include "runner/web/server.h"

#define EXIT_USAGE 2
#define DEFAULT_PORT 8000

static const char help[] =
    "usage: kage web [options] ID [PORT]\n"
    "\n"
    "Serves terminals on a running machine, and on your other ones, to a web browser on this\n"
    "computer. Open the address it prints: it works once, for one browser. ID is a machine's id "
    "or\n"
    "the start of it, its name or its port. PORT is 8000 if left out. Ctrl-C ends it and its "
    "shells.\n"
    "\n"
    "options:\n"
    "  -p, --port PORT  the same as PORT; 0 takes any free one\n"
    "  -u, --user NAME  the user of the guest that the shells run as (root)\n"
    "  --raw            no sandbox, and the network: as root of the whole guest\n"
    "  --network        let the shells use the network, if the machine has one\n"
    "  -h, --help       show this help\n";

enum { RAW = 256, NETWORK };

struct options {
    const char *vm;
    struct kage_web_login login;
    uint16_t port;
    bool help;
};

#define USAGE(...) kage_usage("web", __VA_ARGS__)

static int parse_port(const char *text, uint16_t *ret)
{
    char *end;
    unsigned long v;

    errno = 0;
    v = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || v > UINT16_MAX)
        return USAGE("'%s' is not a port number", text);
    *ret = (uint16_t)v;
    return 0;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"port", required_argument, NULL, 'p'}, {"user", required_argument, NULL, 'u'},
        {"raw", no_argument, NULL, RAW},        {"network", no_argument, NULL, NETWORK},
        {"help", no_argument, NULL, 'h'},       {0},
    };
    bool port_given = false;
    int c;

    optind = 0;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":p:u:h", longs, NULL)) != -1) {
        switch (c) {
        case 'p':
            if (parse_port(optarg, &o->port) < 0)
                return -1;
            port_given = true;
            break;
        case 'u':
            o->login.user = optarg;
            break;
        case RAW:
            o->login.profile = "none";
            o->login.network = true;
            break;
        case NETWORK:
            o->login.network = true;
            break;
        case 'h':
            o->help = true;
            return 0;
        case ':':
            return USAGE("option '%s' needs a value", argv[optind - 1]);
        default:
            return USAGE("unknown option '%s'", argv[optind - 1]);
        }
    }
    if (optind >= argc)
        return USAGE("which machine? 'kage ps' lists them");
    if (!*o->login.user)
        return USAGE("the user has no name");
    o->vm = argv[optind++];
    if (optind < argc && port_given)
        return USAGE("--port takes the place of a port; '%s' is one too many", argv[optind]);
    if (optind < argc && parse_port(argv[optind++], &o->port) < 0)
        return -1;
    if (optind < argc)
        return USAGE("'%s' is one too many", argv[optind]);
    return 0;
}

/* The address goes to standard output for scripts, all else to standard error. */
static void on_address(const char *url, void *user)
{
    puts(url);
    fflush(stdout);
}

int kage_verb_web(int argc, char **argv)
{
    struct options o = {.login.user = "root", .port = DEFAULT_PORT};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_web_options web = {.on_address = on_address, .renew_fd = -1};
    struct kage_vm vm = {0};
    int r;

    if (parse(argc, argv, &o) < 0)
        return EXIT_USAGE;
    if (o.help) {
        fputs(help, stdout);
        return kage_written(0);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTIN, SIG_IGN); /* in the background, the terminal's lines are not for us */
    r = kage_vm_find_running(o.vm, &vm, &err);
    if (r == 0) {
        KAGE_CLEANUP(kage_freep) char *name = kage_printable(vm.name, strlen(vm.name));
        bool terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);

        fprintf(stderr, "kage: terminals on %s (%s) as %s, for one browser at\n", name, vm.id,
                o.login.user);
        if (terminal) {
            fputs("kage: Enter makes a new address, Ctrl-C ends this and its shells\n", stderr);
            web.renew_fd = STDIN_FILENO;
        }
        web.vm = vm.id;
        web.login = o.login;
        web.port = o.port;
        r = kage_web_serve(&web, &err);
    }
    if (r < 0)
        fprintf(stderr, "kage: %s\n", err.message);
    kage_vm_done(&vm);
    kage_error_done(&err);
    return r < 0 ? 1 : 0;
}
