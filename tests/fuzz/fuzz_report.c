/* A run with any bytes for names and messages. The reports are JSON and XML whatever it was, no
 * control character gets into them, and a secret shows in neither of them nor in output that comes
 * in pieces of any size. */
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/text.h"
#include "runner/diag/source.h"
#include "runner/plan/parts.h"
#include "runner/report/mask.h"
#include "runner/report/result.h"
#include "tests/fuzz/fuzz.h"

/* ---- XML, as far as the reports use it ---- */

static const char *skip_name(const char *s)
{
    while ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'))
        s++;
    return s;
}

/* Behind the closing quote of an attribute's value. */
static const char *skip_value(const char *s)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    PROMISE(*s == '"');
    for (s++; *s != '"'; s++) {
        bool known = *s != '&';
        PROMISE(*s && *s != '<');
        for (size_t i = 0; i < 4; i++)
            known |= strncmp(s, entities[i], strlen(entities[i])) == 0;
        PROMISE(known);
    }
    return s + 1;
}

/* One tag; the names of the open elements are on the stack. */
static const char *skip_tag(const char *s, const char **stack, int *depth)
{
    const char *name = s[1] == '/' ? s + 2 : s + 1;
    s = skip_name(name);
    PROMISE(s > name);
    if (name[-1] == '/') {
        const char *open = stack[--*depth];
        PROMISE(*depth >= 0 && strncmp(open, name, (size_t)(s - name)) == 0 && *s == '>');
        return s + 1;
    }
    while (*s == ' ') {
        const char *attribute = ++s;
        s = skip_name(s);
        PROMISE(s > attribute && *s == '=');
        s = skip_value(s + 1);
    }
    if (*s == '/') {
        PROMISE(s[1] == '>');
        return s + 2;
    }
    PROMISE(*s == '>' && *depth < 8);
    stack[(*depth)++] = name;
    return s + 1;
}

/* XML 1.0's Char, without C1 controls. */
static void check_characters(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        int cp;
        size_t n = kage_text_next(s + i, len - i, &cp);
        PROMISE(cp == '\n' || (cp >= 0x20 && cp < 0x7f) ||
                (cp >= 0xa0 && cp != 0xfffe && cp != 0xffff));
        i += n;
    }
}

static void check_xml(const char *s, size_t len)
{
    static const char head[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    const char *stack[9] = {NULL};
    int depth = 0;
    PROMISE(strncmp(s, head, strlen(head)) == 0);
    check_characters(s, len);
    for (s += strlen(head); *s;) {
        if (*s == '<')
            s = skip_tag(s, stack, &depth);
        else if (*s == '\n' || *s == ' ')
            s++;
        else
            PROMISE(!"text between the elements");
    }
    PROMISE(depth == 0);
}

/* ---- a run made up ---- */

#define SECRET "hunter2"

static char *read_back(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);
    PROMISE(fd >= 0 && size >= 0);
    char *text = kage_alloc((size_t)size + 1);
    PROMISE(pread(fd, text, (size_t)size, 0) == size);
    close(fd);
    *len = (size_t)size;
    return text;
}

static void check_reports(const struct kage_plans *plans, const struct kage_result *results)
{
    KAGE_CLEANUP(kage_freep) char *json = kage_asprintf("%s/result.json", fuzz_folder());
    KAGE_CLEANUP(kage_freep) char *xml = kage_asprintf("%s/junit.xml", fuzz_folder());
    struct kage_error err = KAGE_ERROR_INIT;
    const char *end = NULL;
    size_t len;
    PROMISE(kage_results_write(json, plans, results, &err) == 0);
    char *text = read_back(json, &len);
    PROMISE(kage_utf8_valid(text, len) && !memchr(text, 0, len));
    cJSON *root = cJSON_ParseWithOpts(text, &end, 1);
    PROMISE(cJSON_IsObject(root));
    cJSON_Delete(root);
    free(text);
    PROMISE(kage_results_write_junit(xml, plans, results, &err) == 0);
    text = read_back(xml, &len);
    PROMISE(kage_utf8_valid(text, len) && !memchr(text, 0, len));
    check_xml(text, len);
    free(text);
}

static char *masked(const struct kage_mask *mask, struct fuzz_input *in)
{
    char *text = kage_mask_text(mask, fuzz_text(in));
    PROMISE(!strstr(text, SECRET));
    return text;
}

static struct kage_plan *made_up_plan(struct fuzz_input *in, size_t commands)
{
    struct kage_plan *plan = kage_alloc(sizeof(*plan));
    *plan = (struct kage_plan){.name = fuzz_text(in),
                               .spec_file = fuzz_text(in),
                               .arch = KAGE_ARCH_X86_64,
                               .accel = KAGE_ACCEL_TCG};
    for (size_t i = 0; i < commands; i++) {
        struct kage_loc at = {"job.yaml", fuzz_byte(in), fuzz_byte(in)};
        kage_plan_add_step(plan, KAGE_STEP_SPAWN, at)->name = fuzz_text(in);
    }
    return plan;
}

static struct kage_result made_up_result(struct fuzz_input *in, const struct kage_mask *mask,
                                         size_t commands)
{
    struct kage_result r = {.class = (enum kage_class)(fuzz_byte(in) % KAGE_CLASS_COUNT),
                            .exit_code = fuzz_byte(in),
                            .message = masked(mask, in),
                            .loc = {"job.yaml", 1 + fuzz_byte(in), 1}};
    r.commands = kage_alloc((commands + 1) * sizeof(*r.commands));
    r.n_commands = commands;
    for (size_t i = 0; i < commands; i++) {
        struct kage_command_result *c = &r.commands[i];
        c->status = (enum kage_command_status)(fuzz_byte(in) % KAGE_COMMAND_STATUS_COUNT);
        c->message = masked(mask, in);
        c->n_attempts = fuzz_byte(in) % 3;
        c->attempts = kage_alloc(3 * sizeof(*c->attempts));
        for (size_t k = 0; k < c->n_attempts; k++)
            c->attempts[k].message = masked(mask, in);
    }
    r.n_artifacts = fuzz_byte(in) % 3;
    r.artifacts = kage_alloc(3 * sizeof(*r.artifacts));
    for (size_t i = 0; i < r.n_artifacts; i++) {
        struct kage_artifact_result *a = &r.artifacts[i];
        a->status = (enum kage_artifact_status)(fuzz_byte(in) % KAGE_ARTIFACT_STATUS_COUNT);
        a->path = fuzz_text(in);
        a->to = fuzz_text(in);
        a->message = masked(mask, in);
    }
    return r;
}

/* In pieces or whole, the same comes out. */
static void check_stream(const struct kage_mask *mask, struct fuzz_input in)
{
    struct kage_mask_stream whole = {0}, pieces = {0};
    struct kage_buf a = {0}, b = {0};
    unsigned step = 1 + fuzz_byte(&in) % 16;
    kage_mask_write(mask, &whole, in.data, in.size, true, &a);
    for (size_t i = 0; i < in.size; i += step)
        kage_mask_write(mask, &pieces, in.data + i, in.size - i < step ? in.size - i : step, false,
                        &b);
    kage_mask_write(mask, &pieces, NULL, 0, true, &b);
    PROMISE(a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0));
    PROMISE(!a.len || !memmem(a.data, a.len, SECRET, strlen(SECRET)));
    kage_buf_done(&a);
    kage_buf_done(&b);
    kage_mask_stream_done(&whole);
    kage_mask_stream_done(&pieces);
}

/* From the process that ran the job to the one that asked for it. What is taken is sent on as it
 * came; a result that claims to have passed has passed. */
static void check_sending(const struct kage_plan *plan, const struct kage_buf *text, bool ours)
{
    struct kage_result got = {0}, again = {0};
    struct kage_error err = KAGE_ERROR_INIT;
    struct kage_buf first = {0}, second = {0};
    if (kage_result_receive(text, plan, &got, &err) == 0) {
        PROMISE((got.class == KAGE_CLASS_NONE) == (got.exit_code == 0));
        kage_result_send(&got, &first);
        PROMISE(!ours ||
                (first.len == text->len && memcmp(first.data, text->data, text->len) == 0));
        PROMISE(kage_result_receive(&first, plan, &again, &err) == 0);
        kage_result_send(&again, &second);
        PROMISE(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    } else {
        PROMISE(err.message && *err.message);
    }
    kage_result_done(&got);
    kage_result_done(&again);
    kage_buf_done(&first);
    kage_buf_done(&second);
    kage_error_done(&err);
}

static void check_wire(const struct kage_plan *plan, const struct kage_result *result,
                       const uint8_t *data, size_t size)
{
    struct kage_buf text = {0};
    kage_result_send(result, &text);
    /* this plan has no artifacts, so a result with some is not of it */
    check_sending(plan, &text, result->n_artifacts == 0);
    kage_buf_consume(&text, text.len);
    kage_buf_add(&text, data, size);
    check_sending(plan, &text, false);
    kage_buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t jobs = 1 + fuzz_byte(&in) % 2;
    struct kage_plan *items[2] = {NULL, NULL};
    struct kage_result results[2] = {{0}, {0}};
    struct kage_mask *mask = kage_mask_new();
    kage_mask_add(mask, SECRET);
    kage_mask_add(mask, "huntsman\nsecond line");
    check_stream(mask, in);
    for (size_t i = 0; i < jobs; i++) {
        size_t commands = fuzz_byte(&in) % 4;
        items[i] = made_up_plan(&in, commands);
        results[i] = made_up_result(&in, mask, commands);
    }
    check_reports(&(struct kage_plans){items, jobs}, results);
    check_wire(items[0], &results[0], data, size);
    for (size_t i = 0; i < jobs; i++) {
        kage_plan_free(items[i]);
        kage_result_done(&results[i]);
    }
    kage_mask_free(mask);
    return 0;
}
