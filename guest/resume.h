#pragma once

struct kage_guest;
struct kage_msg;
struct kage_refusal;

/* Sets the clock and reseeds the kernel's random numbers after a restore: clones of one template
 * wake at the template's clock and would all draw the same bytes. */
int kage_resume(struct kage_guest *guest, const struct kage_msg *request, struct kage_refusal *why);

/* A new boot id and machine id: at boot, and again at resume. */
void kage_renew_identity(struct kage_guest *guest);
