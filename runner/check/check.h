#pragma once

struct kage_diags;
struct kage_draft;

/* Judges what a spec means, after its shape has been judged (3xx and up). The draft may have errors
 * in it: strings may be missing, and lists may hold less than was written. */
void kage_check_draft(const struct kage_draft *draft, struct kage_diags *diags);

/* Judges two jobs of one matrix side by side. */
void kage_check_jobs(const struct kage_draft *first, const struct kage_draft *later,
                     struct kage_diags *diags);
