#pragma once

struct kage_guest;
struct kage_msg;
struct kage_refusal;

/* Whether a port of the commands' loopback takes connections, or a path is there. Answers at once;
 * 0 for yes. No is a refusal with the errno that says why. */
int kage_probe(const struct kage_guest *guest, const struct kage_msg *request,
               struct kage_refusal *why);
