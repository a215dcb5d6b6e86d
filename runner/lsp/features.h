#pragma once

#include <cJSON.h>
#include <stddef.h>

#include "runner/lsp/document.h"

/* What editors ask for, each as the result of its request. NULL: there is nothing. */
cJSON *kage_lsp_diagnostics(const struct kage_documents *all, struct kage_document *doc);
cJSON *kage_lsp_completion(const struct kage_documents *all, struct kage_document *doc,
                           size_t cursor);
cJSON *kage_lsp_hover(const struct kage_documents *all, struct kage_document *doc, size_t cursor);
cJSON *kage_lsp_definition(const struct kage_documents *all, struct kage_document *doc,
                           size_t cursor);
cJSON *kage_lsp_symbols(const struct kage_documents *all, struct kage_document *doc);
cJSON *kage_lsp_actions(const struct kage_documents *all, struct kage_document *doc, size_t start,
                        size_t end);
