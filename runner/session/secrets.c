#include "runner/session/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "common/proto/message.h"
#include "runner/plan/parts.h"
#include "runner/report/mask.h"

/* An environment entry has at most 128 KiB (MAX_ARG_STRLEN in Linux's include/uapi/linux/
 * binfmts.h), and half of that is a long key. */
#define VALUE_MAX (64u * 1024u)

static int read_file(const char *path, struct kage_buf *out, struct kage_error *err)
{
    /* Not to wait for the writer of a FIFO. */
    KAGE_CLEANUP(kage_closep)
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char chunk[4096];
    ssize_t n;

    if (fd < 0)
        return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot open %s", path);
    while ((n = read(fd, chunk, sizeof chunk)) != 0 && out->len <= VALUE_MAX) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kage_error_errno(err, KAGE_CLASS_HOST, errno, "cannot read %s", path);
        kage_buf_add(out, chunk, (size_t)n);
    }
    explicit_bzero(chunk, sizeof chunk);
    if (out->len && out->data[out->len - 1] == '\n')
        out->data[--out->len] = '\0';
    return 0;
}

static int read_value(const struct kage_plan_secret *secret, struct kage_buf *out,
                      struct kage_error *err)
{
    const char *value = secret->env ? getenv(secret->env) : NULL;

    if (secret->file && read_file(secret->file, out, err) < 0)
        return -1;
    if (secret->env && !value)
        return kage_error_set(err, KAGE_CLASS_HOST, "the variable %s is not set", secret->env);
    if (value)
        kage_buf_adds(out, value);
    if (!out->len)
        return kage_error_set(err, KAGE_CLASS_HOST, "it is empty");
    if (out->len > VALUE_MAX)
        return kage_error_set(err, KAGE_CLASS_HOST, "it is longer than %u KiB", VALUE_MAX / 1024);
    if (strlen(out->data) != out->len || !kage_utf8_valid(out->data, out->len))
        return kage_error_set(err, KAGE_CLASS_HOST,
                              "it is no text: a variable cannot hold NUL or other than UTF-8");
    return 0;
}

int kage_secret_try(const struct kage_plan_secret *secret, struct kage_error *err)
{
    struct kage_buf value = {0};
    int r = read_value(secret, &value, err);

    if (value.data)
        explicit_bzero(value.data, value.len);
    kage_buf_done(&value);
    return r;
}

int kage_secrets_read(const struct kage_plan *plan, struct kage_secrets *ret,
                      struct kage_mask *mask, struct kage_error *err)
{
    struct kage_secrets secrets = {.values = kage_alloc((plan->n_secrets + 1) * sizeof(char *))};

    for (size_t i = 0; i < plan->n_secrets; i++) {
        struct kage_buf value = {0};

        if (read_value(&plan->secrets[i], &value, err) < 0) {
            kage_buf_done(&value);
            kage_secrets_done(&secrets);
            if (err)
                err->loc = plan->secrets[i].loc;
            return kage_error_wrap(err, "cannot read secret %s", plan->secrets[i].name);
        }
        secrets.values[secrets.n++] = kage_buf_take(&value);
        kage_mask_add(mask, secrets.values[i]);
    }
    *ret = secrets;
    return 0;
}

static const char *value_of(const struct kage_secrets *secrets, const struct kage_plan *plan,
                            const char *name)
{
    for (size_t i = 0; i < secrets->n; i++)
        if (!strcmp(plan->secrets[i].name, name))
            return secrets->values[i];
    return "";
}

static void fill(struct kage_str_list *env, const char *name, const char *value)
{
    KAGE_CLEANUP(kage_freep) char *place = kage_plan_secret_entry(name);

    for (size_t i = 0; i < env->n; i++) {
        if (strcmp(env->items[i], place) != 0)
            continue;
        free(env->items[i]);
        env->items[i] = kage_asprintf("%s=%s", name, value);
    }
}

char *kage_secrets_fill(const struct kage_secrets *secrets, const struct kage_plan *plan,
                        const struct kage_plan_step *step, const char *payload)
{
    KAGE_CLEANUP(kage_freep) char *why = NULL;
    struct kage_buf out = {0};
    struct kage_msg msg;

    /* The plan's reader and its maker let nothing pass that does not decode. */
    if (!step->n_secrets ||
        kage_msg_decode(&msg, KAGE_MSG_SPAWN, (const uint8_t *)payload, strlen(payload), &why))
        return kage_strdup(payload);
    for (size_t i = 0; i < step->n_secrets; i++)
        fill(&msg.spawn.env, step->secrets[i], value_of(secrets, plan, step->secrets[i]));
    kage_msg_encode(&msg, &out);
    kage_msg_done(&msg);
    return kage_buf_take(&out);
}

void kage_secrets_done(struct kage_secrets *secrets)
{
    for (size_t i = 0; i < secrets->n; i++) {
        explicit_bzero(secrets->values[i], strlen(secrets->values[i]));
        free(secrets->values[i]);
    }
    free(secrets->values);
    *secrets = (struct kage_secrets){0};
}
