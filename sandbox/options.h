#pragma once

#include <stdbool.h>
#include <sys/types.h>

enum kage_sandbox_profile {
    KAGE_SANDBOX_DEFAULT,
    KAGE_SANDBOX_STRICT,
    KAGE_SANDBOX_NONE, /* the command runs as asked; only its life is bounded */
};

enum kage_sandbox_net {
    KAGE_SANDBOX_NET_PRIVATE, /* a fresh namespace with nothing but lo */
    KAGE_SANDBOX_NET_FD,      /* the namespace that net_fd stands for */
    KAGE_SANDBOX_NET_HOST,    /* the caller's */
};

enum { KAGE_SANDBOX_GROUPS_MAX = 256 };

struct kage_sandbox_options {
    enum kage_sandbox_profile profile;
    uid_t uid;
    gid_t gid;
    gid_t groups[KAGE_SANDBOX_GROUPS_MAX];
    int group_count;
    const char *cwd; /* absolute */
    enum kage_sandbox_net net;
    int net_fd;
    const char *hostname; /* NULL keeps the name */
    int cgroup_fd;        /* -1: stay in the caller's cgroup */
    int exec_fd;          /* the program to run; -1: look argv[0] up */
    int status_fd;        /* -1: used by hand */
    bool tty;
    bool wait; /* for the command, which comes over the status socket */
    bool help;
    char **argv; /* the command, NULL-terminated, borrowed from main's */
};

/* Returns 0, or -1 with a sentence about what is wrong in *why and the argument
 * it is about in *arg (may be NULL); *o is then only good for status_fd. */
int kage_sandbox_options_parse(int argc, char **argv, struct kage_sandbox_options *o,
                               const char **why, const char **arg);

extern const char kage_sandbox_usage[];
