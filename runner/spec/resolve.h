#pragma once

struct kage_draft;
struct kage_reader;

/* Completes a draft: defaults of commands, environments, absolute paths, the image's form. Makes
 * no findings; the draft may be one with errors in it. */
void kage_resolve(struct kage_reader *r, struct kage_draft *draft);

/* Hands the draft's lists to its spec. */
void kage_resolve_lists(struct kage_reader *r, struct kage_draft *draft);
