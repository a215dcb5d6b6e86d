#pragma once

#include "common/base/buf.h"
#include "runner/report/result.h"

/* What the kinds of report, and results on their way, share. */

/* Text for a JSON file: cJSON prints bytes as they are, and what is not UTF-8 would make a file
 * that no reader takes. Owned. */
char *kage_report_text(const char *text);

/* Writes a file beside `path` and renames it, so that a reader never sees half a report. */
int kage_report_write_file(const char *path, const struct kage_buf *text, struct kage_error *err);

/* The plan's spawn steps in order are the result's commands in order. */
const struct kage_plan_step *kage_report_step(const struct kage_plan *plan, size_t command);

/* "passed", "failed", "error" or "cancelled". */
const char *kage_report_verdict(const struct kage_result *result);
