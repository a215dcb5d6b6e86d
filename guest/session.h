#pragma once

struct kage_guest;
struct kage_msg;
struct kage_refusal;

/* Makes the user of a session_create, its group and its home, and fills `ok`. Asking twice for the
 * same user is fine; a name or uid that belongs to someone else is refused. */
int kage_session_create(struct kage_guest *guest, const struct kage_msg *request,
                        struct kage_msg *ok, struct kage_refusal *why);

/* Ends the user's commands and removes what kage_session_create made. */
int kage_session_destroy(struct kage_guest *guest, const struct kage_msg *request,
                         struct kage_refusal *why);
