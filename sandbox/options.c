#include "sandbox/options.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

const char kage_sandbox_usage[] =
    "usage: sandbox-helper [OPTION…] -- COMMAND [ARGUMENT…]\n"
    "\n"
    "Runs COMMAND in namespaces of its own, as the given user, with what it may ask\n"
    "of the kernel cut down. When COMMAND ends, everything it started ends too.\n"
    "COMMAND gets the environment as it is and is searched for in its PATH.\n"
    "\n"
    "  --profile NAME     default: system calls as for an ordinary container\n"
    "                     strict: fewer, unix sockets only, no capabilities for root\n"
    "                     none: no filter, capabilities stay\n"
    "                     (nodejs and python mean default, minimal means strict)\n"
    "  --uid N --gid N    user and group, both or neither (default: 0 and 0)\n"
    "  --groups A,B,…     supplementary groups (default: none)\n"
    "  --cwd DIR          working directory, absolute (default: /)\n"
    "  --private-net      a network namespace with nothing but lo (the default)\n"
    "  --net-fd N         the network namespace open at descriptor N\n"
    "  --host-net         the caller's network namespace\n"
    "  --hostname NAME    host name that COMMAND sees\n"
    "  --exec-fd N        run the program open at descriptor N; COMMAND is only its name\n"
    "  --cgroup-fd N      run in the cgroup (v2) whose folder is open at descriptor N\n"
    "  --tty              make standard input the controlling terminal\n"
    "  --status-fd N      report to, and take signals from, the SOCK_SEQPACKET socket N\n"
    "  --wait             make everything ready, then take the command over the socket; these\n"
    "                     options say what kind it will be\n"
    "  --help             this text\n"
    "\n"
    "Needs root. Without --status-fd it exits with COMMAND's exit code, 128+N if signal\n"
    "N killed it, 127 or 126 if it was not found or could not be executed, and 125 if\n"
    "the sandbox could not be set up; COMMAND then has not run.\n";

/* Decimal digits and nothing else; no leading zero, which others read as octal. */
static int parse_number(const char *s, const char *end, uint32_t max, uint32_t *ret_n)
{
    uint64_t n = 0;
    if (s == end || (s[0] == '0' && end - s > 1))
        return -1;
    for (; s < end; s++) {
        if (*s < '0' || *s > '9')
            return -1;
        n = n * 10 + (uint64_t)(*s - '0');
        if (n > max)
            return -1;
    }
    *ret_n = (uint32_t)n;
    return 0;
}

/* 2^32-1 is no id: the calls that change ids take it as "leave as it is". */
static int parse_id(const char *s, uint32_t *ret_id)
{
    return parse_number(s, s + strlen(s), UINT32_MAX - 1, ret_id);
}

static int parse_fd(const char *s, int *ret_fd)
{
    uint32_t n;
    if (parse_number(s, s + strlen(s), INT_MAX, &n) < 0 || n <= 2)
        return -1;
    *ret_fd = (int)n;
    return 0;
}

static int parse_groups(const char *s, struct kage_sandbox_options *o)
{
    for (;;) {
        const char *end = strchrnul(s, ',');
        uint32_t gid;
        if (o->group_count == KAGE_SANDBOX_GROUPS_MAX ||
            parse_number(s, end, UINT32_MAX - 1, &gid) < 0)
            return -1;
        o->groups[o->group_count++] = gid;
        if (!*end)
            return 0;
        s = end + 1;
    }
}

static int parse_profile(const char *s, enum kage_sandbox_profile *ret_profile)
{
    static const struct {
        const char *name;
        enum kage_sandbox_profile profile;
    } names[] = {
        {"default", KAGE_SANDBOX_DEFAULT}, {"strict", KAGE_SANDBOX_STRICT},
        {"none", KAGE_SANDBOX_NONE},       {"nodejs", KAGE_SANDBOX_DEFAULT},
        {"python", KAGE_SANDBOX_DEFAULT},  {"minimal", KAGE_SANDBOX_STRICT},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(s, names[i].name) == 0) {
            *ret_profile = names[i].profile;
            return 0;
        }
    }
    return -1;
}

static int parse_hostname(const char *s, const char **ret_name)
{
    size_t len = strlen(s);
    if (len == 0 || len > 64) /* __NEW_UTS_LEN */
        return -1;
    *ret_name = s;
    return 0;
}

static int parse_cwd(const char *s, const char **ret_cwd)
{
    if (s[0] != '/')
        return -1;
    *ret_cwd = s;
    return 0;
}

enum option {
    OPT_PROFILE,
    OPT_UID,
    OPT_GID,
    OPT_GROUPS,
    OPT_CWD,
    OPT_NET_FD,
    OPT_HOSTNAME,
    OPT_CGROUP_FD,
    OPT_STATUS_FD,
    OPT_EXEC_FD,
    OPT_FLAGS, /* from here on without a value */
    OPT_PRIVATE_NET = OPT_FLAGS,
    OPT_HOST_NET,
    OPT_TTY,
    OPT_WAIT,
    OPT_HELP,
    OPT_COUNT,
};

static const struct {
    const char *name;
    const char *why; /* the value is wrong */
} options[OPT_COUNT] = {
    [OPT_PROFILE] = {"--profile", "no such profile (default, strict or none)"},
    [OPT_UID] = {"--uid", "not a user id (0 to 4294967294)"},
    [OPT_GID] = {"--gid", "not a group id (0 to 4294967294)"},
    [OPT_GROUPS] = {"--groups", "not a list of at most 256 group ids, separated by commas"},
    [OPT_CWD] = {"--cwd", "not an absolute path"},
    [OPT_NET_FD] = {"--net-fd", "not a descriptor above 2"},
    [OPT_HOSTNAME] = {"--hostname", "not a host name of 1 to 64 bytes"},
    [OPT_CGROUP_FD] = {"--cgroup-fd", "not a descriptor above 2"},
    [OPT_STATUS_FD] = {"--status-fd", "not a descriptor above 2"},
    [OPT_EXEC_FD] = {"--exec-fd", "not a descriptor above 2"},
    [OPT_PRIVATE_NET] = {"--private-net", NULL},
    [OPT_HOST_NET] = {"--host-net", NULL},
    [OPT_TTY] = {"--tty", NULL},
    [OPT_WAIT] = {"--wait", NULL},
    [OPT_HELP] = {"--help", NULL},
};

static int take_value(enum option opt, const char *value, struct kage_sandbox_options *o)
{
    switch (opt) {
    case OPT_PROFILE:
        return parse_profile(value, &o->profile);
    case OPT_UID:
        return parse_id(value, &o->uid);
    case OPT_GID:
        return parse_id(value, &o->gid);
    case OPT_GROUPS:
        return parse_groups(value, o);
    case OPT_CWD:
        return parse_cwd(value, &o->cwd);
    case OPT_NET_FD:
        o->net = KAGE_SANDBOX_NET_FD;
        return parse_fd(value, &o->net_fd);
    case OPT_HOSTNAME:
        return parse_hostname(value, &o->hostname);
    case OPT_CGROUP_FD:
        return parse_fd(value, &o->cgroup_fd);
    case OPT_STATUS_FD:
        return parse_fd(value, &o->status_fd);
    case OPT_EXEC_FD:
        return parse_fd(value, &o->exec_fd);
    default:
        return -1;
    }
}

static void take_flag(enum option opt, struct kage_sandbox_options *o)
{
    if (opt == OPT_HOST_NET)
        o->net = KAGE_SANDBOX_NET_HOST;
    else if (opt == OPT_TTY)
        o->tty = true;
    else if (opt == OPT_WAIT)
        o->wait = true;
    else if (opt == OPT_HELP)
        o->help = true;
}

static enum option find_option(const char *arg)
{
    int i = 0;
    while (i < OPT_COUNT && strcmp(arg, options[i].name) != 0)
        i++;
    return (enum option)i;
}

/* What is true of the options only together. */
static const char *check_together(const struct kage_sandbox_options *o, unsigned seen)
{
    unsigned nets = seen & (1u << OPT_NET_FD | 1u << OPT_PRIVATE_NET | 1u << OPT_HOST_NET);
    if ((nets & (nets - 1)) != 0)
        return "--net-fd, --private-net and --host-net exclude each other";
    /* A forgotten group would leave the command in root's. */
    if (!(seen & 1u << OPT_UID) != !(seen & 1u << OPT_GID))
        return "--uid and --gid belong together";
    if (o->wait && (o->status_fd < 0 || o->argv[0] || o->profile != KAGE_SANDBOX_DEFAULT))
        return "--wait needs --status-fd and the default profile, and no command";
    if (!o->wait && !o->argv[0])
        return "no command given; it follows --";
    return NULL;
}

int kage_sandbox_options_parse(int argc, char **argv, struct kage_sandbox_options *o,
                               const char **why, const char **arg)
{
    unsigned seen = 0;
    int i = 1;
    memset(o, 0, sizeof *o);
    o->cwd = "/";
    o->net_fd = o->cgroup_fd = o->status_fd = o->exec_fd = -1;
    *why = NULL;
    *arg = NULL;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        enum option opt = find_option(argv[i]);
        *arg = argv[i];
        if (opt == OPT_COUNT) {
            *why = "unknown option (the command follows --)";
        } else if (seen & 1u << opt) {
            *why = "given twice";
        } else if (opt >= OPT_FLAGS) {
            take_flag(opt, o);
        } else if (i + 1 == argc) {
            *why = "needs a value";
        } else if (take_value(opt, argv[++i], o) < 0) {
            *why = options[opt].why;
        }
        if (*why)
            return -1;
        seen |= 1u << opt;
    }
    *arg = NULL;
    o->argv = argv + (i < argc ? i + 1 : argc);
    if (!o->help)
        *why = check_together(o, seen);
    return *why ? -1 : 0;
}
