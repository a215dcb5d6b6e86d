#include "runner/template/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/proto/message.h"
#include "runner/image/digest.h"
#include "runner/template/inputs.h"

/* Goes into every key: raise it when what is saved, or how, changes. */
#define CHECKPOINT_FORMAT "kage checkpoint 2"
#define KEY_LEN 32
#define LARGE (UINT64_C(512) << 20)

static void add_text(struct kage_sha256 *hash, const char *text)
{
    kage_sha256_add(hash, text, strlen(text) + 1);
}

static void add_number(struct kage_sha256 *hash, long long number)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", number);
    add_text(hash, text);
}

/* What a template does without: whether the network leads anywhere. */
static void add_network(struct kage_sha256 *hash, const struct kage_plan *plan)
{
    for (size_t i = 0; i + 1 < plan->n_args; i++)
        if (!strcmp(plan->args[i].text, "-netdev"))
            add_text(hash, plan->args[i + 1].text);
}

/* Without the id of the program that tells whether a command is ready: they are counted on after
 * all of the plan's commands, those after the checkpoint among them. */
static void add_ready(struct kage_sha256 *hash, const struct kage_plan_ready *ready)
{
    KAGE_CLEANUP(kage_freep) char *why = NULL;
    struct kage_buf payload = {0};
    struct kage_msg msg;

    add_number(hash, ready->kind);
    add_text(hash, ready->text ? ready->text : "");
    if (ready->kind != KAGE_READY_EXEC ||
        kage_msg_decode(&msg, KAGE_MSG_SPAWN, (const uint8_t *)ready->payload,
                        strlen(ready->payload), &why) != 0) {
        add_text(hash, ready->payload ? ready->payload : "");
        return;
    }
    msg.id = KAGE_UNSET;
    kage_msg_encode(&msg, &payload);
    add_text(hash, payload.data);
    kage_buf_done(&payload);
    kage_msg_done(&msg);
}

static void add_step(struct kage_sha256 *hash, const struct kage_plan_step *step)
{
    add_number(hash, step->kind);
    add_text(hash, step->payload);
    if (step->kind != KAGE_STEP_SPAWN)
        return;
    add_number(hash, (long long)step->n_expect);
    for (size_t i = 0; i < step->n_expect; i++)
        add_number(hash, step->expect[i]);
    add_number(hash, step->when);
    add_number(hash, step->continue_on_error);
    add_number(hash, step->background);
    add_ready(hash, &step->ready);
}

struct counter {
    uint64_t total;
    kage_inputs_large_fn large;
    void *user;
};

static void count(uint64_t bytes, void *user)
{
    struct counter *c = user;
    bool was_large = c->total >= LARGE;

    c->total += bytes;
    if (c->large && !was_large && c->total >= LARGE)
        c->large(c->user);
}

static struct kage_sha256 *start_from(const char *key)
{
    struct kage_sha256 *hash = kage_sha256_new();

    add_text(hash, CHECKPOINT_FORMAT);
    add_text(hash, key);
    return hash;
}

static const char *add_checkpoint(struct kage_checkpoints *list, size_t step,
                                  struct kage_sha256 *hash)
{
    char hex[KAGE_SHA256_HEX + 1];

    kage_sha256_end(hash, hex);
    list->items = kage_realloc(list->items, (list->n + 1) * sizeof *list->items);
    list->items[list->n++] =
        (struct kage_checkpoint){.step = step, .key = kage_strndup(hex, KEY_LEN)};
    return list->items[list->n - 1].key;
}

static size_t last_checkpoint(const struct kage_plan *plan)
{
    size_t last = plan->n_steps;

    for (size_t i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].checkpoint)
            last = i;
    return last;
}

int kage_checkpoints_find(const struct kage_plan *plan, const char *template_key, size_t max,
                          kage_inputs_large_fn large, void *user, struct kage_checkpoints *ret,
                          struct kage_error *err)
{
    struct counter counter = {.large = large, .user = user};
    const struct kage_inputs_reader reader = {.read = count, .user = &counter};
    struct kage_checkpoints found = {0};
    struct kage_sha256 *hash;
    size_t last = last_checkpoint(plan);
    char discarded[KAGE_SHA256_HEX + 1];
    int r = 0;

    if (last == plan->n_steps)
        max = 0;
    hash = start_from(template_key);
    add_network(hash, plan);
    for (size_t i = 0; r == 0 && i <= last && found.n < max; i++) {
        const struct kage_plan_step *step = &plan->steps[i];

        add_step(hash, step);
        for (size_t k = 0; r == 0 && k < step->n_inputs; k++)
            r = kage_input_add(hash, plan, &step->inputs[k], &reader, err);
        if (r == 0 && step->checkpoint)
            hash = start_from(add_checkpoint(&found, i, hash));
    }
    kage_sha256_end(hash, discarded);
    if (r < 0)
        kage_checkpoints_done(&found);
    else
        *ret = found;
    return r;
}

void kage_checkpoints_done(struct kage_checkpoints *checkpoints)
{
    for (size_t i = 0; i < checkpoints->n; i++)
        free(checkpoints->items[i].key);
    free(checkpoints->items);
    *checkpoints = (struct kage_checkpoints){0};
}

/* ---- the past ---- */

char *kage_past_write(const struct kage_past_command *commands, size_t n)
{
    struct kage_buf text = {0};

    for (size_t i = 0; i < n; i++) {
        const struct kage_past_command *c = &commands[i];

        kage_buf_adds(&text, i ? " " : "");
        if (c->past == KAGE_PAST_RUNNING)
            kage_buf_adds(&text, c->handle);
        else if (c->past == KAGE_PAST_PASSED)
            kage_buf_addf(&text, "%d", c->exit_code);
        else
            kage_buf_addc(&text, '-');
    }
    return kage_buf_take(&text);
}

static bool read_word(const char *word, size_t len, const struct kage_plan_step *step,
                      struct kage_past_command *ret)
{
    size_t digits = strspn(word, "0123456789");

    if (len == 1 && *word == '-') {
        ret->past = KAGE_PAST_NOT_RUN;
        return true;
    }
    if (len == digits && len && len <= 3) {
        ret->past = KAGE_PAST_PASSED;
        ret->exit_code = atoi(word);
        return ret->exit_code <= 255;
    }
    if (*word != 'p' || len < 2 || len > 20 || strspn(word + 1, "0123456789") != len - 1)
        return false;
    ret->past = KAGE_PAST_RUNNING;
    ret->handle = kage_strndup(word, len);
    return step->background;
}

struct kage_past_command *kage_past_read(const char *text, const struct kage_plan *plan,
                                         size_t checkpoint_step, size_t *ret_n)
{
    struct kage_past_command *list = kage_alloc((checkpoint_step + 1) * sizeof *list);
    size_t n = 0;
    bool good = text, more = true;

    for (size_t i = 0; good && i <= checkpoint_step; i++) {
        size_t len = strcspn(text, " ");

        if (plan->steps[i].kind != KAGE_STEP_SPAWN)
            continue;
        good = more && read_word(text, len, &plan->steps[i], &list[n++]);
        more = text[len] == ' ';
        text += len + more;
    }
    if (!good || more) {
        kage_past_free(list, n);
        return NULL;
    }
    *ret_n = n;
    return list;
}

void kage_past_free(struct kage_past_command *commands, size_t n)
{
    for (size_t i = 0; commands && i < n; i++)
        free(commands[i].handle);
    free(commands);
}
