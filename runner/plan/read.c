#include <string.h>

#include "common/base/alloc.h"
#include "common/proto/message.h"
#include "runner/plan/options.h"
#include "runner/plan/parts.h"
#include "runner/plan/read.h"
#include "runner/plan/strict_json.h"

/*
 * Reads what print_json.c writes. A plan starts a program and opens folders, so
 * the file is checked as hard as a spec: every key known, every QEMU option one
 * that kage itself could have written, every payload through the validator of
 * its frame and encoded afresh.
 */

#define NUMBER_MAX KAGE_PLAN_NUMBER_MAX

struct kage_loc kage_plan_read_loc(struct kage_json_obj *o, const struct kage_plan *plan)
{
    return (struct kage_loc){
        .file = plan->spec_file,
        .line = (int)kage_json_u64(o, "line", 0, INT32_MAX, 0),
        .col = (int)kage_json_u64(o, "col", 0, INT32_MAX, 0),
    };
}

int kage_plan_read_word(struct kage_json_obj *o, const char *key, int (*from)(const char *),
                        int lowest)
{
    KAGE_CLEANUP(kage_freep) char *word = kage_json_str(o, key, true);
    int value = word ? from(word) : lowest;

    if (value < lowest) {
        kage_json_fail(o, key, "is not a word a plan can have there");
        return lowest;
    }
    return value;
}

static int read_head(const struct cJSON *root, struct kage_plan *plan, struct kage_error *err)
{
    struct kage_json_obj o =
        kage_json_open(root, "",
                       "kage_plan name spec arch accel accel_note image memory disk "
                       "boot_timeout_ms timeout_ms output_limit qemu args shares frames matrix "
                       "secrets folder artifacts",
                       err);

    if (!o.failed && kage_json_u64(&o, "kage_plan", 0, NUMBER_MAX, 0) != KAGE_PLAN_VERSION)
        kage_json_fail(&o, "kage_plan", "must be 2: this is not a plan of this version of kage");
    plan->name = kage_json_str(&o, "name", true);
    plan->spec_file = kage_json_str(&o, "spec", true);
    plan->arch = (enum kage_arch)kage_plan_read_word(&o, "arch", kage_arch_from, KAGE_ARCH_X86_64);
    plan->accel =
        (enum kage_accel)kage_plan_read_word(&o, "accel", kage_accel_from, KAGE_ACCEL_KVM);
    plan->accel_note = kage_json_str(&o, "accel_note", false);
    plan->memory = kage_json_u64(&o, "memory", 1, NUMBER_MAX, 0);
    plan->disk = kage_json_u64(&o, "disk", 0, NUMBER_MAX, 0);
    plan->boot_timeout_ms = kage_json_u64(&o, "boot_timeout_ms", 1, NUMBER_MAX, 0);
    plan->timeout_ms = kage_json_u64(&o, "timeout_ms", 1, NUMBER_MAX, 0);
    plan->output_limit = kage_json_u64(&o, "output_limit", 0, NUMBER_MAX, 0);
    plan->qemu = kage_json_str(&o, "qemu", true);
    if (!plan->memory || !plan->boot_timeout_ms || !plan->timeout_ms)
        kage_json_fail(&o, "", "lacks memory, boot_timeout_ms or timeout_ms");
    return o.failed ? -1 : 0;
}

static int read_image(const struct cJSON *item, struct kage_plan *plan, struct kage_error *err)
{
    struct kage_json_obj o = kage_json_open(
        item, "image", "form name url digest path kernel initrd rootfs cmdline own_kernel line col",
        err);
    struct kage_spec_image *image = &plan->image;

    image->form = (enum kage_image_form)kage_plan_read_word(&o, "form", kage_image_form_from, 0);
    image->loc = kage_plan_read_loc(&o, plan);
    image->name = kage_json_str(&o, "name", image->form == KAGE_IMAGE_STORE);
    image->url = kage_json_str(&o, "url", image->form == KAGE_IMAGE_URL);
    image->digest = kage_json_str(&o, "digest", false);
    image->path = kage_json_str(&o, "path", image->form == KAGE_IMAGE_PATH);
    image->kernel = kage_json_str(&o, "kernel", image->form == KAGE_IMAGE_KERNEL);
    image->initrd = kage_json_str(&o, "initrd", false);
    image->rootfs = kage_json_str(&o, "rootfs", false);
    image->cmdline = kage_json_str(&o, "cmdline", false);
    if (kage_json_has(&o, "own_kernel"))
        image->own_kernel = (enum kage_own_kernel)kage_plan_read_word(
            &o, "own_kernel", kage_own_kernel_from, KAGE_OWN_KERNEL_STOCK);
    return o.failed ? -1 : 0;
}

static int read_args(const struct cJSON *list, struct kage_plan *plan, struct kage_error *err)
{
    plan->args = kage_alloc((kage_json_list_len(list) + 1) * sizeof(*plan->args));
    for (const struct cJSON *i = NULL; (i = kage_json_list_next(list, i));) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("args[%zu]", plan->n_args);
        struct kage_json_obj o = kage_json_open(i, path, "arg line col", err);
        struct kage_plan_arg *arg = &plan->args[plan->n_args++];

        arg->text = kage_json_str(&o, "arg", true);
        arg->loc = kage_plan_read_loc(&o, plan);
        if (o.failed)
            return -1;
    }
    return kage_cmdline_check(plan->args, plan->n_args, err);
}

static int read_shares(const struct cJSON *list, struct kage_plan *plan, struct kage_error *err)
{
    plan->shares = kage_alloc((kage_json_list_len(list) + 1) * sizeof(*plan->shares));
    for (const struct cJSON *i = NULL; (i = kage_json_list_next(list, i));) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("shares[%zu]", plan->n_shares);
        KAGE_CLEANUP(kage_freep) char *hole = NULL;
        KAGE_CLEANUP(kage_freep) char *tag = kage_asprintf("share%zu", plan->n_shares);
        struct kage_json_obj o = kage_json_open(i, path, "name tag path writable line col", err);
        struct kage_plan_share *share = &plan->shares[plan->n_shares++];

        share->name = kage_json_str(&o, "name", true);
        share->tag = kage_json_str(&o, "tag", true);
        share->path = kage_json_str(&o, "path", true);
        share->writable = kage_json_bool(&o, "writable", false);
        share->loc = kage_plan_read_loc(&o, plan);
        if (o.failed)
            return -1;
        hole = kage_asprintf("share:%s", share->name);
        if (!kage_placeholder_valid(hole, strlen(hole)))
            kage_json_fail(&o, "name", "is not the name of a share");
        if (strcmp(share->tag, tag) != 0)
            kage_json_fail(&o, "tag", "is out of order");
        if (share->path[0] != '/')
            kage_json_fail(&o, "path", "must be absolute");
        if (o.failed)
            return -1;
    }
    return 0;
}

static void read_expect(struct kage_json_obj *o, struct kage_plan_step *step)
{
    const struct cJSON *list = kage_json_list(o, "expect");
    size_t n = list ? kage_json_list_len(list) : 0;

    step->expect = kage_alloc((n + 1) * sizeof(*step->expect));
    for (const struct cJSON *i = NULL; list && (i = kage_json_list_next(list, i));) {
        int64_t code;

        if (!kage_json_item_int(i, 0, 255, &code)) {
            kage_json_fail(o, "expect", "must hold exit codes, 0 to 255");
            return;
        }
        step->expect[step->n_expect++] = (int)code;
    }
    if (step->n_expect == 0)
        kage_json_fail(o, "expect", "must hold at least one exit code");
}

char *kage_plan_read_payload(struct kage_json_obj *o, const char *key, int type, uint32_t id)
{
    KAGE_CLEANUP(kage_freep) char *text = kage_json_object_text(o, key);
    KAGE_CLEANUP(kage_freep) char *why = NULL;
    struct kage_buf b = {0};
    struct kage_msg msg;

    if (!text)
        return NULL;
    if (kage_msg_decode(&msg, type, (const uint8_t *)text, strlen(text), &why)) {
        KAGE_CLEANUP(kage_freep) char *what = kage_asprintf("is no payload of its type: %s", why);

        kage_json_fail(o, key, what);
        return NULL;
    }
    kage_msg_encode(&msg, &b);
    if (type == KAGE_MSG_SPAWN && msg.id != (int64_t)id)
        kage_json_fail(o, key, "must count its commands: id 1, 2, … in order");
    kage_msg_done(&msg);
    return kage_buf_take(&b);
}

static int read_kind(struct kage_json_obj *o, const struct kage_plan *plan)
{
    KAGE_CLEANUP(kage_freep) char *type = kage_json_str(o, "type", true);

    for (int kind = 0; type && kind < KAGE_STEP_COUNT; kind++) {
        if (strcmp(type, kage_msg_name(kage_plan_step_type((enum kage_plan_step_kind)kind))) != 0)
            continue;
        if (plan->n_steps && (int)plan->steps[plan->n_steps - 1].kind > kind)
            kage_json_fail(o, "type", "is out of order: sessions, then mounts, then spawns");
        return kind;
    }
    kage_json_fail(o, "type", "must be session_create, mount or spawn");
    return KAGE_STEP_SESSION;
}

static uint32_t count_spawns(const struct cJSON *list)
{
    uint32_t n = 0;

    for (const struct cJSON *i = NULL; (i = kage_json_list_next(list, i));)
        n += kage_json_item_is(i, "type", "spawn");
    return n;
}

static int read_frames(const struct cJSON *list, struct kage_plan *plan, struct kage_error *err)
{
    uint32_t spawns = 0, n = count_spawns(list);

    for (const struct cJSON *i = NULL; (i = kage_json_list_next(list, i));) {
        KAGE_CLEANUP(kage_freep) char *path = kage_asprintf("frames[%zu]", plan->n_steps);
        struct kage_json_obj o = kage_json_open(
            i, path,
            "type line col name timeout_ms expect when continue_on_error payload retries "
            "background pty ready secrets checkpoint inputs",
            err);
        enum kage_plan_step_kind kind = (enum kage_plan_step_kind)read_kind(&o, plan);
        struct kage_plan_step *step = kage_plan_add_step(plan, kind, kage_plan_read_loc(&o, plan));

        if (kind == KAGE_STEP_SPAWN) {
            step->id = ++spawns;
            step->name = kage_json_str(&o, "name", true);
            step->timeout_ms = kage_json_u64(&o, "timeout_ms", 0, NUMBER_MAX, 0);
            step->when = (enum kage_when)kage_plan_read_word(&o, "when", kage_when_from, 0);
            step->continue_on_error = kage_json_bool(&o, "continue_on_error", false);
            read_expect(&o, step);
        }
        step->payload = kage_plan_read_payload(&o, "payload", kage_plan_step_type(kind), step->id);
        if (kind == KAGE_STEP_SPAWN && !o.failed)
            kage_plan_read_special(&o, plan, step, n, err);
        if (o.failed)
            return -1;
    }
    return 0;
}

/* Is the program one that takes QEMU's options? Distributions call it qemu-system-<arch>, and
 * Red Hat's qemu-kvm. */
static int check_program(const struct kage_plan *plan, struct kage_error *err)
{
    const char *slash = strrchr(plan->qemu, '/');
    const char *base = slash ? slash + 1 : plan->qemu;

    if (strcmp(base, "qemu-kvm") == 0 || (strncmp(base, "qemu-system-", 12) == 0 &&
                                          strcmp(base + 12, kage_arch_name(plan->arch)) == 0))
        return 0;
    return kage_error_set(err, KAGE_CLASS_SPEC, "qemu must be qemu-system-%s",
                          kage_arch_name(plan->arch));
}

/* Is `flag` there, with `value` if that is not NULL? */
static bool has_option(const struct kage_plan *plan, const char *flag, const char *value)
{
    for (size_t i = 0; i < plan->n_args; i++) {
        const char *next = i + 1 < plan->n_args ? plan->args[i + 1].text : "";

        if (strcmp(plan->args[i].text, flag) == 0 && (!value || strcmp(next, value) == 0))
            return true;
        i += kage_cmdline_takes_value(plan->args[i].text);
    }
    return false;
}

/* What keeps the guest in, no plan can leave out; nor what kage talks through, each with its own.
 */
static int check_confinement(const struct kage_plan *plan, struct kage_error *err)
{
    static const struct {
        const char *flag, *value;
    } required[] = {
        {"-nodefaults", NULL},
        {"-no-user-config", NULL},
        {"-display", "none"},
        {"-no-reboot", NULL},
        {"-chardev", "socket,id=console,fd=%{console}"},
        {"-serial", "chardev:console"},
        {"-chardev", "socket,id=qmp,fd=%{qmp}"},
        {"-mon", "chardev=qmp,mode=control"},
        {"-chardev", "socket,id=control,fd=%{control}"},
        {"-device", KAGE_QEMU_CONTROL},
#ifdef __linux__
        {"-sandbox", KAGE_QEMU_SANDBOX},
#endif
    };

    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++)
        if (!has_option(plan, required[i].flag, required[i].value))
            return kage_error_set(err, KAGE_CLASS_SPEC, "args must hold %s%s%s", required[i].flag,
                                  required[i].value ? " " : "",
                                  required[i].value ? required[i].value : "");
    return 0;
}

/* Every folder the command line opens must be one of the shares, and read-only if that is. */
static int check_folders(const struct kage_plan *plan, struct kage_error *err)
{
    for (size_t i = 0; i < plan->n_args; i++) {
        const char *text = plan->args[i].text, *hole = strstr(text, "%{share:");
        const struct kage_plan_share *share = NULL;

        for (size_t s = 0; hole && s < plan->n_shares; s++) {
            size_t n = strlen(plan->shares[s].name);

            if (strncmp(hole + 8, plan->shares[s].name, n) == 0 && hole[8 + n] == '}')
                share = &plan->shares[s];
        }
        if (hole && !share)
            return kage_error_set(err, KAGE_CLASS_SPEC, "args[%zu] opens a share the plan lacks",
                                  i);
        if (share && !share->writable && !strstr(text, ",readonly=on"))
            return kage_error_set(err, KAGE_CLASS_SPEC,
                                  "args[%zu] would let share %s be written, which is read-only", i,
                                  share->name);
    }
    return 0;
}

static int read_plan(const struct cJSON *root, struct kage_plan *plan, struct kage_error *err)
{
    struct kage_json_obj o;
    const struct cJSON *args, *shares, *frames, *image;

    if (read_head(root, plan, err) < 0)
        return -1;
    o = (struct kage_json_obj){.obj = root, .path = "", .err = err};
    args = kage_json_list(&o, "args");
    shares = kage_json_list(&o, "shares");
    frames = kage_json_list(&o, "frames");
    image = kage_json_member(&o, "image");
    if (o.failed || read_image(image, plan, err) < 0 || read_shares(shares, plan, err) < 0 ||
        read_args(args, plan, err) < 0 || kage_plan_read_outcome(root, plan, err) < 0 ||
        read_frames(frames, plan, err) < 0)
        return -1;
    if (check_program(plan, err) < 0 || check_confinement(plan, err) < 0)
        return -1;
    return check_folders(plan, err);
}

static int read_one(const struct cJSON *root, struct kage_plan **ret, struct kage_error *err)
{
    struct kage_plan *plan = kage_alloc(sizeof(*plan));

    if (read_plan(root, plan, err) < 0) {
        kage_plan_free(plan);
        return -1;
    }
    *ret = plan;
    return 0;
}

static int read_several(const struct cJSON *root, struct kage_plans *ret, struct kage_error *err)
{
    struct kage_json_obj o = kage_json_open(root, "", "kage_plans jobs", err);
    const struct cJSON *jobs;

    if (!o.failed && kage_json_u64(&o, "kage_plans", 0, NUMBER_MAX, 0) != KAGE_PLAN_VERSION)
        kage_json_fail(&o, "kage_plans", "must be 2: these are not plans of this version of kage");
    jobs = kage_json_list(&o, "jobs");
    if (!o.failed && kage_json_list_len(jobs) == 0)
        kage_json_fail(&o, "jobs", "must hold at least one job");
    if (o.failed)
        return -1;
    ret->items = kage_alloc(kage_json_list_len(jobs) * sizeof(*ret->items));
    for (const struct cJSON *i = NULL; (i = kage_json_list_next(jobs, i)); ret->n++)
        if (read_one(i, &ret->items[ret->n], err) < 0)
            return kage_error_wrap(err, "jobs[%zu]", ret->n);
    return 0;
}

int kage_plans_read(const char *path, struct kage_plans *ret, struct kage_error *err)
{
    struct cJSON *root = NULL;
    struct kage_json_obj o = {.path = "", .err = err};
    struct kage_plans plans = {0};
    int rc;

    if (!strcmp(path, "-"))
        path = "/dev/stdin";
    if (kage_json_load(path, &root, err) < 0)
        return -1;
    o.obj = root;
    if (kage_json_has(&o, "kage_plans")) {
        rc = read_several(root, &plans, err);
    } else {
        plans.items = kage_alloc(sizeof(*plans.items));
        rc = read_one(root, &plans.items[0], err);
        plans.n = rc == 0;
    }
    kage_json_free(root);
    if (rc < 0) {
        kage_plans_done(&plans);
        return kage_error_wrap(err, "%s", path);
    }
    *ret = plans;
    return 0;
}
