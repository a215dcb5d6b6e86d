#include "runner/diag/registry.h"

static const struct kage_code codes[] = {
#define KAGE_CODE(number, name, severity, title, why, bad, good)                                   \
    {number, KAGE_##severity, title, why, bad, good},
#include "schemas/diagnostics.def"
#undef KAGE_CODE
};

#define N_CODES (sizeof(codes) / sizeof(codes[0]))

const struct kage_code *kage_codes(size_t *n)
{
    *n = N_CODES;
    return codes;
}

const struct kage_code *kage_code_find(int number)
{
    for (size_t i = 0; i < N_CODES; i++)
        if (codes[i].number == number)
            return &codes[i];
    return NULL;
}

const char *kage_severity_name(enum kage_severity severity)
{
    static const char *const names[] = {
        [KAGE_NOTE] = "note", [KAGE_WARNING] = "warning", [KAGE_ERROR] = "error"};
    _Static_assert(sizeof(names) / sizeof(names[0]) == KAGE_SEVERITY_COUNT, "a name is missing");
    return names[severity];
}
