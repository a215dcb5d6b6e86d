#include "runner/check/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "runner/spec/spec.h"
#include "runner/yaml/arena.h"
#include "runner/yaml/scalar.h"
#include "runner/yaml/tree.h"

#define FILE_NAME ".kage-check.yaml"

char *kage_check_config_find(const char *folder)
{
    KAGE_CLEANUP(kage_freep) char *at = realpath(folder, NULL);
    while (at) {
        KAGE_CLEANUP(kage_freep)
        char *file = kage_asprintf("%s/" FILE_NAME, strcmp(at, "/") == 0 ? "" : at);
        KAGE_CLEANUP(kage_freep) char *git = kage_asprintf("%s/.git", at);
        if (access(file, F_OK) == 0)
            return KAGE_TAKE(file);
        char *slash = strrchr(at, '/');
        if (access(git, F_OK) == 0 || slash[1] == '\0')
            return NULL;
        slash[slash == at ? 1 : 0] = '\0';
    }
    return NULL;
}

bool kage_severity_parse(const char *word, enum kage_severity *ret)
{
    for (int s = 0; s < KAGE_SEVERITY_COUNT; s++) {
        if (strcmp(word, kage_severity_name((enum kage_severity)s)) == 0) {
            *ret = (enum kage_severity)s;
            return true;
        }
    }
    return false;
}

static int wrong(struct kage_error *err, const struct kage_node *at, const char *what)
{
    return kage_error_set(err, KAGE_CLASS_SPEC, "%s:%d:%d: %s", at->at.loc.file, at->at.loc.line,
                          at->at.loc.col, what);
}

/* K401: note */
static int read_level(const struct kage_pair *pair, struct kage_check_config *ret,
                      struct kage_error *err)
{
    const char *key = pair->key->text;
    char *end = NULL;
    long number = key[0] == 'K' ? strtol(key + 1, &end, 10) : 0;
    const struct kage_code *code = end && *end == '\0' ? kage_code_find((int)number) : NULL;
    enum kage_severity level = KAGE_SEVERITY_OFF;
    if (!code)
        return wrong(err, pair->key, "there is no such code");
    if (pair->value->kind != KAGE_NODE_SCALAR ||
        (strcmp(pair->value->text, "off") != 0 && !kage_severity_parse(pair->value->text, &level)))
        return wrong(err, pair->value, "write error, warning, note or off");
    if (code->severity == KAGE_ERROR && level != KAGE_ERROR)
        return wrong(err, pair->value, "an error stays one");
    ret->severities[number] = (unsigned char)(level + 1);
    return 0;
}

static int read_key(const struct kage_pair *pair, struct kage_check_config *ret,
                    struct kage_error *err)
{
    const char *key = pair->key->text;
    const struct kage_node *value = pair->value;
    bool locked = strcmp(key, "locked") == 0;
    if (locked || strcmp(key, "notes") == 0) {
        if (value->kind != KAGE_NODE_SCALAR || kage_scalar_resolve(value) != KAGE_SCALAR_BOOL)
            return wrong(err, value, "write true or false");
        *(locked ? &ret->locked : &ret->notes) = kage_scalar_bool(value);
        return 0;
    }
    if (strcmp(key, "fail-on") == 0) {
        ret->has_fail_on =
            value->kind == KAGE_NODE_SCALAR && kage_severity_parse(value->text, &ret->fail_on);
        return ret->has_fail_on ? 0 : wrong(err, value, "write error, warning or note");
    }
    if (strcmp(key, "findings") != 0)
        return wrong(err, pair->key, "write locked, notes, fail-on or findings");
    if (value->kind != KAGE_NODE_MAP)
        return wrong(err, value, "write codes and what to take them for, like {K409: off}");
    for (size_t i = 0; i < value->n; i++)
        if (read_level(&value->pairs[i], ret, err) < 0)
            return -1;
    return 0;
}

int kage_check_config_read(const char *path, struct kage_check_config *ret, struct kage_error *err)
{
    KAGE_CLEANUP(kage_buf_done) struct kage_buf text = {0};
    KAGE_CLEANUP(kage_freep) char *folder = NULL;
    if (kage_spec_read(path, &text, &folder, err) < 0)
        return -1;
    KAGE_CLEANUP(kage_diags_freep) struct kage_diags *diags = kage_diags_new();
    KAGE_CLEANUP(kage_arena_freep) struct kage_arena *arena = kage_arena_new();
    const char *file = kage_diags_file(diags, path, text.data ? text.data : "", text.len);
    const struct kage_node *root =
        kage_yaml_parse(arena, file, text.data ? text.data : "", text.len, diags);
    struct kage_check_config config = {0};
    size_t n;
    struct kage_finding *const *list = kage_diags_list(diags, &n);
    if (n)
        return kage_error_set(err, KAGE_CLASS_SPEC, "%s:%d:%d: %s", file, list[0]->at.loc.line,
                              list[0]->at.loc.col, list[0]->message);
    if (root && root->kind != KAGE_NODE_MAP)
        return wrong(err, root, "this must be a map");
    for (size_t i = 0; root && i < root->n; i++)
        if (read_key(&root->pairs[i], &config, err) < 0)
            return -1;
    *ret = config;
    return 0;
}

void kage_check_config_apply(const struct kage_check_config *config, struct kage_diags *diags)
{
    for (int code = 0; code < 1000; code++)
        if (config->severities[code])
            kage_diags_set_severity(diags, code,
                                    (enum kage_severity)(config->severities[code] - 1));
}
