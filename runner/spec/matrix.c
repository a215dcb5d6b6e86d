#include "runner/spec/matrix.h"

#include <string.h>

#include "runner/spec/reader.h"
#include "runner/yaml/scalar.h"

struct axis {
    char *name;
    char **values;
    size_t n;
};

struct exclusion {
    struct kage_spec_choice *choices;
    size_t n;
    struct kage_span at;
    bool used;
};

/* The matrix is one field whose keys are the user's; these stand for what is inside it. */
static const struct kage_field value_field = {.name = "matrix", .type = KAGE_FIELD_SCALAR};
static const struct kage_field exclude_field = {.name = "exclude", .type = KAGE_FIELD_SCALAR};

static struct kage_span place_of(const struct kage_pair *pair)
{
    return pair->value->kind == KAGE_NODE_SCALAR ? pair->value->at : pair->key->at;
}

static bool read_axis(struct kage_reader *r, const struct kage_pair *pair, struct axis *axis)
{
    const struct kage_form_rule *rule = &kage_forms[KAGE_FORM_VARIABLE];
    struct kage_field field = {
        .name = pair->key->text, .type = KAGE_FIELD_SCALAR, .shape = KAGE_SHAPE_LIST};
    struct kage_where where = {.field = &field};
    axis->name = pair->key->text;
    if (!rule->match(axis->name)) {
        struct kage_finding *f =
            kage_diags_add(r->diags, K209_IDENTIFIER, pair->key->at,
                           "'%s' in 'matrix' is not a valid name of an axis",
                           kage_diags_show(r->diags, pair->key->text, pair->key->len));
        kage_finding_help(f, "%s", rule->help);
        return false;
    }
    if (pair->value->kind != KAGE_NODE_LIST) {
        kage_report_type(r, &where, pair->value, "a list");
        return false;
    }
    if (pair->value->n == 0) {
        kage_diags_add(r->diags, K208_RANGE, place_of(pair), "'%s' must have at least one item",
                       kage_diags_show(r->diags, pair->key->text, pair->key->len));
        return false;
    }
    bool ok = true;
    axis->values = kage_arena_alloc(r->arena, pair->value->n * sizeof(*axis->values));
    where.item = true;
    for (size_t i = 0; i < pair->value->n; i++)
        if (kage_decode(r, &where, pair->value->items[i], &axis->values[axis->n]))
            axis->n++;
        else
            ok = false;
    return ok;
}

static const struct axis *find_axis(const struct axis *axes, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(axes[i].name, name) == 0)
            return &axes[i];
    return NULL;
}

static bool read_exclusion(struct kage_reader *r, const struct kage_node *map,
                           const struct axis *axes, size_t n_axes, struct exclusion *ret)
{
    bool ok = true;
    if (map->kind != KAGE_NODE_MAP) {
        kage_report_type(r, &(struct kage_where){.field = &exclude_field, .item = true}, map,
                         "a map");
        return false;
    }
    *ret = (struct exclusion){.at = map->at};
    ret->choices = kage_arena_alloc(r->arena, (map->n + 1) * sizeof(*ret->choices));
    for (size_t i = 0; i < map->n; i++) {
        const struct kage_pair *pair = &map->pairs[i];
        struct kage_where where = {.field = &exclude_field, .key = pair->key};
        struct kage_spec_choice *choice = &ret->choices[ret->n++];
        choice->axis = pair->key->text;
        if (!find_axis(axes, n_axes, choice->axis)) {
            kage_diags_add(r->diags, K313_UNDEFINED_AXIS, pair->key->at,
                           "the matrix has no axis '%s'",
                           kage_diags_show(r->diags, pair->key->text, pair->key->len));
            ok = false;
        }
        ok &= kage_decode(r, &where, pair->value, &choice->value);
    }
    return ok;
}

/* Whether the job has everything the exclusion names. */
static bool excludes(const struct exclusion *e, const struct kage_spec_choice *job, size_t n_axes)
{
    for (size_t i = 0; i < e->n; i++)
        for (size_t k = 0; k < n_axes; k++)
            if (strcmp(job[k].axis, e->choices[i].axis) == 0 &&
                strcmp(job[k].value, e->choices[i].value) != 0)
                return false;
    return e->n > 0;
}

static bool is_excluded(struct exclusion *list, size_t n, const struct kage_spec_choice *job,
                        size_t n_axes)
{
    bool excluded = false;
    for (size_t i = 0; i < n; i++) {
        if (!excludes(&list[i], job, n_axes))
            continue;
        list[i].used = true;
        excluded = true;
    }
    return excluded;
}

/* Counts through the axes like an odometer. Before the exclusions there may be more jobs than
 * after them; so many are looked at. */
#define COMBINATIONS_MAX 4096

static bool combine(struct kage_reader *r, struct kage_span at, const struct axis *axes,
                    size_t n_axes, struct exclusion *exclusions, size_t n_exclusions,
                    struct kage_matrix *ret)
{
    size_t total = 1;
    for (size_t i = 0; i < n_axes && total <= COMBINATIONS_MAX; i++)
        total *= axes[i].n;
    struct kage_spec_choice *job = kage_arena_alloc(r->arena, (n_axes + 1) * sizeof(*job));
    ret->jobs = NULL;
    ret->n_jobs = 0;
    for (size_t number = 0; number < total && ret->n_jobs <= KAGE_MATRIX_MAX; number++) {
        size_t rest = number;
        for (size_t i = n_axes; i-- > 0; rest /= axes[i].n)
            job[i] = (struct kage_spec_choice){axes[i].name, axes[i].values[rest % axes[i].n]};
        if (is_excluded(exclusions, n_exclusions, job, n_axes))
            continue;
        ret->jobs = kage_arena_push(r->arena, ret->jobs, ret->n_jobs, sizeof(*ret->jobs));
        ret->jobs[ret->n_jobs++] = job;
        job = kage_arena_alloc(r->arena, (n_axes + 1) * sizeof(*job));
    }
    if (total > COMBINATIONS_MAX || ret->n_jobs > KAGE_MATRIX_MAX) {
        kage_diags_add(r->diags, K314_TOO_MANY_JOBS, at, "the matrix makes more than %d jobs",
                       KAGE_MATRIX_MAX);
        return false;
    }
    for (size_t i = 0; i < n_exclusions; i++)
        if (!exclusions[i].used)
            kage_diags_add(r->diags, K326_EXCLUDES_NOTHING, exclusions[i].at,
                           "no job of the matrix has these values");
    if (ret->n_jobs == 0)
        kage_diags_add(r->diags, K328_NO_JOBS, at, "'exclude' leaves no job of the matrix");
    return ret->n_jobs > 0;
}

bool kage_matrix_read(struct kage_reader *r, const struct kage_node *node, struct kage_matrix *ret)
{
    *ret = (struct kage_matrix){.n_jobs = 1};
    ret->jobs = kage_arena_alloc(r->arena, sizeof(*ret->jobs));
    if (!node)
        return true;
    if (node->kind != KAGE_NODE_MAP) {
        kage_report_type(r, &(struct kage_where){.field = &value_field}, node, "a map");
        return false;
    }
    bool ok = true;
    struct axis *axes = kage_arena_alloc(r->arena, (node->n + 1) * sizeof(*axes));
    size_t n_axes = 0, n_exclusions = 0;
    const struct kage_pair *exclude = kage_node_find(node, "exclude");
    struct exclusion *exclusions = NULL;
    struct kage_span at = node->n ? node->pairs[0].key->at : node->at;
    for (size_t i = 0; i < node->n; i++)
        if (&node->pairs[i] != exclude)
            ok &= read_axis(r, &node->pairs[i], &axes[n_axes++]);
    if (n_axes == 0) {
        /* an empty map is a matter of shape, and the schema says so too */
        kage_diags_add(r->diags, node->n ? K328_NO_JOBS : K208_RANGE, at, "the matrix has no axis");
        ok = false;
    }
    if (exclude && exclude->value->kind != KAGE_NODE_LIST) {
        struct kage_field field = {
            .name = "exclude", .shape = KAGE_SHAPE_LIST, .type = KAGE_FIELD_OBJECT};
        kage_report_type(r, &(struct kage_where){.field = &field}, exclude->value, "a list");
        return false;
    }
    if (exclude)
        exclusions = kage_arena_alloc(r->arena, (exclude->value->n + 1) * sizeof(*exclusions));
    for (size_t i = 0; exclude && i < exclude->value->n; i++)
        ok &=
            read_exclusion(r, exclude->value->items[i], axes, n_axes, &exclusions[n_exclusions++]);
    struct kage_matrix made = {.n_axes = n_axes};
    if (!ok || !combine(r, at, axes, n_axes, exclusions, n_exclusions, &made))
        return false;
    *ret = made;
    return true;
}

bool kage_choices_match(const struct kage_spec_choice *matrix, size_t n, char *const *asked,
                        size_t n_asked)
{
    for (size_t i = 0; i < n_asked; i++) {
        size_t len = strcspn(asked[i], "=");
        bool found = false;
        for (size_t k = 0; k < n && !found && asked[i][len]; k++)
            found = strlen(matrix[k].axis) == len && strncmp(matrix[k].axis, asked[i], len) == 0 &&
                    strcmp(matrix[k].value, asked[i] + len + 1) == 0;
        if (!found)
            return false;
    }
    return true;
}
