/* Any bytes as a spec. Whatever they are, loading ends, leaks nothing, and either gives
 * a spec or says why not; every format can show it, fixes come to an end, and an editor can ask
 * what belongs at any place. */
#include "common/base/buf.h"
#include "runner/check/mend.h"
#include "runner/diag/diag.h"
#include "runner/lsp/context.h"
#include "runner/spec/spec.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kage_diags *diags = kage_diags_new();
    struct kage_spec *spec = NULL;
    int r = kage_spec_load_text("fuzz.yaml", "/tmp", (const char *)data, size, &spec, diags);
    if ((r == 0) != (spec != NULL) || (r != 0) != (kage_diags_count(diags, KAGE_ERROR) > 0))
        abort();
    for (size_t i = 0; spec && i < spec->n_commands; i++) {
        const struct kage_spec_command *c = &spec->commands[i];
        if ((c->run != NULL) == (c->n_argv > 0) || !c->user || !c->cwd || !c->shell || !c->name ||
            !c->n_expect || (!c->timeout_ms && !c->background))
            abort();
    }
    for (int format = KAGE_FORMAT_HUMAN; format < KAGE_FORMAT_COUNT; format++) {
        struct kage_buf out = {0};
        kage_diags_render(diags, (enum kage_format)format, false, &out);
        kage_buf_done(&out);
    }
    kage_spec_free(spec);
    kage_diags_free(diags);

    size_t len, fixed;
    char *mended = kage_mend_text("fuzz.yaml", "/tmp", (const char *)data, size, &len, &fixed);
    if ((mended != NULL) != (fixed > 0))
        abort();
    free(mended);
    for (size_t at = 0; at <= size && size < 4096; at += 1 + size / 16) {
        struct kage_context context;
        kage_context_find((const char *)data, at, &context);
        if (context.known && !context.key && !context.field)
            abort();
    }
    return 0;
}
