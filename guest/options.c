#include "guest/options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

const char kage_vmd_usage[] =
    "usage: vmd --listen ADDRESS:PORT --token-file FILE --helper PROGRAM [OPTION…]\n"
    "\n"
    "Runs commands for clients that speak the protocol of docs/protocol.md. As process 1\n"
    "of a virtual machine it takes no options and sets the machine up first.\n"
    "\n"
    "  --listen ADDRESS:PORT  an IPv4 address; with port 0 the kernel chooses one, and\n"
    "                         the number is printed on standard output\n"
    "  --token-file FILE      64 hex digits that a client must present\n"
    "  --helper PROGRAM       sandbox-helper\n"
    "  --builtin PROGRAM      a static busybox, for spawn requests with `builtin`\n"
    "  --root FOLDER          use FOLDER as the root file system; without it, requests\n"
    "                         that would change this system are refused\n"
    "  --cgroup FOLDER        a cgroup v2 folder to make commands' cgroups in\n"
    "  --control FD           an inherited descriptor that leads to a client, too\n"
    "  --help, --version\n";

static int parse_listen(const char *text, struct kage_vmd_options *o, struct kage_error *err)
{
    const char *colon = strrchr(text, ':');
    struct in_addr address;
    char *end = NULL;
    unsigned long port;

    if (!colon || colon[1] < '0' || colon[1] > '9')
        return kage_error_set(err, KAGE_CLASS_HOST, "--listen needs ADDRESS:PORT");
    errno = 0;
    port = strtoul(colon + 1, &end, 10);
    free(o->address);
    o->address = kage_strndup(text, (size_t)(colon - text));
    if (errno || *end || port > 65535 || inet_pton(AF_INET, o->address, &address) != 1)
        return kage_error_set(err, KAGE_CLASS_HOST, "'%s' is not an IPv4 address and a port", text);
    o->port = (uint16_t)port;
    return 0;
}

static int parse_fd(const char *text, int *ret, struct kage_error *err)
{
    char *end = NULL;
    long fd;

    errno = 0;
    fd = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || errno || *end || fd > INT_MAX || fcntl((int)fd, F_GETFD) < 0)
        return kage_error_set(err, KAGE_CLASS_HOST, "'%s' is not an open descriptor", text);
    *ret = (int)fd;
    return 0;
}

enum { LISTEN = 1, TOKEN_FILE, HELPER, BUILTIN, ROOT, CGROUP, CONTROL, HELP, VERSION };

static const struct option long_options[] = {
    {"listen", required_argument, NULL, LISTEN},
    {"token-file", required_argument, NULL, TOKEN_FILE},
    {"helper", required_argument, NULL, HELPER},
    {"builtin", required_argument, NULL, BUILTIN},
    {"root", required_argument, NULL, ROOT},
    {"cgroup", required_argument, NULL, CGROUP},
    {"control", required_argument, NULL, CONTROL},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {0},
};

static int parse(int argc, char **argv, struct kage_vmd_options *o, struct kage_error *err)
{
    int c;

    opterr = 0;
    optind = 0; /* glibc: start anew, also when called a second time */
    while ((c = getopt_long(argc, argv, "+", long_options, NULL)) != -1) {
        switch (c) {
        case LISTEN:
            if (parse_listen(optarg, o, err) < 0)
                return -1;
            break;
        case TOKEN_FILE:
            o->token_file = optarg;
            break;
        case HELPER:
            o->helper = optarg;
            break;
        case BUILTIN:
            o->builtin = optarg;
            break;
        case ROOT:
            o->root = optarg;
            break;
        case CGROUP:
            o->cgroup = optarg;
            break;
        case CONTROL:
            if (parse_fd(optarg, &o->control_fd, err) < 0)
                return -1;
            break;
        case HELP:
            o->help = true;
            return 0;
        case VERSION:
            o->version = true;
            return 0;
        default:
            return kage_error_set(err, KAGE_CLASS_HOST, "unknown or incomplete option '%s'",
                                  argv[optind - 1]);
        }
    }
    if (optind < argc)
        return kage_error_set(err, KAGE_CLASS_HOST, "unexpected argument '%s'", argv[optind]);
    if (!o->address || !o->token_file || !o->helper)
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "--listen, --token-file and --helper are needed");
    return 0;
}

int kage_vmd_options_parse(int argc, char **argv, struct kage_vmd_options *ret,
                           struct kage_error *err)
{
    struct kage_vmd_options o = {.control_fd = -1};

    if (parse(argc, argv, &o, err) < 0) {
        kage_vmd_options_done(&o);
        return -1;
    }
    *ret = o;
    return 0;
}

void kage_vmd_options_done(struct kage_vmd_options *o)
{
    free(o->address);
    *o = (struct kage_vmd_options){0};
}
