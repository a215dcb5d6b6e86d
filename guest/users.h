#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "common/proto/message.h"

struct kage_refusal;

/* One line of /etc/passwd. */
struct kage_user {
    char *name;
    uid_t uid;
    gid_t gid;
    char *home;
    char *shell;
};

/* Looks into the /etc/passwd of vmd's root; libc's own look-up would load the image's libraries
 * into vmd. Returns false when there is no such user. root is always there. */
bool kage_user_by_name(const char *name, struct kage_user *ret);
bool kage_user_by_uid(uid_t uid, struct kage_user *ret);
/* Keeps the files of users and groups at hand, as they are while no command runs. They are read
 * again once they have changed. */
void kage_users_remember(void);

void kage_user_done(struct kage_user *user);

/* The groups that list the user as a member in /etc/group, without `primary`. */
void kage_user_groups(const char *name, gid_t primary, struct kage_u32_list *ret);

bool kage_user_name_valid(const char *name);
