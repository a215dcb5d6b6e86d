#pragma once

struct kage_buf;

/* The JSON Schema (draft-07) of the language, as the table of fields has it. It says what the
 * findings 2xx say, and K115 with them: no more, as a schema cannot know what things mean. */
void kage_schema_print(struct kage_buf *out);

/* The reference of every field, in Markdown. */
void kage_reference_print(struct kage_buf *out);
