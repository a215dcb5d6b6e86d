#include "common/proto/message.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

enum field_kind {
    F_STR,      /* char * */
    F_BYTES,    /* char * and size_t: text, or base64 beside "encoding":"base64" */
    F_BASE64,   /* char * and size_t: always base64 */
    F_BOOL,     /* bool */
    F_INT,      /* int64_t */
    F_STR_LIST, /* struct kage_str_list */
    F_U32_LIST, /* struct kage_u32_list */
    F_ENV,      /* struct kage_str_list of NAME=value; an object on the wire */
};

enum field_flags {
    REQUIRED = 1,
    TRUE_BY_DEFAULT = 2,
    ALWAYS = 4, /* a bool that is written even when false */
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t at, len_at;
    unsigned flags;
    int64_t min, max;
};

#define AT(m) offsetof(struct kage_msg, m)
#define STR(n, m, fl)                                                                              \
    {                                                                                              \
        .name = n, .kind = F_STR, .at = AT(m), .flags = fl                                         \
    }
#define INT(n, m, fl, lo, hi)                                                                      \
    {                                                                                              \
        .name = n, .kind = F_INT, .at = AT(m), .flags = fl, .min = lo, .max = hi                   \
    }
#define BOOL(n, m, fl)                                                                             \
    {                                                                                              \
        .name = n, .kind = F_BOOL, .at = AT(m), .flags = fl                                        \
    }
#define LIST(n, m, k)                                                                              \
    {                                                                                              \
        .name = n, .kind = k, .at = AT(m)                                                          \
    }
#define BYTES(n, m, k, fl)                                                                         \
    {                                                                                              \
        .name = n, .kind = k, .at = AT(m), .len_at = AT(m##_len), .flags = fl                      \
    }

/* uid_t's last value means "leave unchanged" to the kernel (setresuid(2)). */
#define UID_LAST 4294967294
#define EXACT_MAX 9007199254740991 /* 2^53 - 1: beyond it doubles skip integers */

static const struct field spawn_fields[] = {
    STR("command", spawn.command, REQUIRED),
    LIST("args", spawn.args, F_STR_LIST),
    STR("cwd", spawn.cwd, 0),
    INT("uid", spawn.uid, 0, 0, UID_LAST),
    INT("gid", spawn.gid, 0, 0, UID_LAST),
    BOOL("network", spawn.network, 0),
    BOOL("pty", spawn.pty, 0),
    STR("seccomp_profile", spawn.seccomp_profile, 0),
    LIST("env", spawn.env, F_ENV),
    STR("user", spawn.user, 0),
    LIST("groups", spawn.groups, F_U32_LIST),
    INT("rows", spawn.rows, 0, 1, 65535),
    INT("cols", spawn.cols, 0, 1, 65535),
    BOOL("detach", spawn.detach, 0),
    BOOL("no_stdin", spawn.no_stdin, 0),
    BOOL("builtin", spawn.builtin, 0),
    BOOL("private_network", spawn.private_network, 0),
    INT("max_processes", spawn.max_processes, 0, 1, 4194304),
    INT("max_memory", spawn.max_memory, 0, 1, EXACT_MAX),
    {0},
};
static const struct field stdin_fields[] = {
    STR("handle", input.handle, 0), BYTES("data", input.data, F_BYTES, REQUIRED), {0}};
static const struct field stdin_close_fields[] = {STR("handle", input.handle, 0), {0}};
static const struct field kill_fields[] = {
    STR("handle", kill.handle, 0), INT("signal", kill.signal, 0, 1, 64), {0}};
static const struct field resize_fields[] = {STR("handle", resize.handle, 0),
                                             INT("rows", resize.rows, REQUIRED, 1, 65535),
                                             INT("cols", resize.cols, REQUIRED, 1, 65535),
                                             {0}};
static const struct field mount_fields[] = {STR("tag", mount.tag, 0),
                                            STR("mount_point", mount.mount_point, REQUIRED),
                                            BOOL("read_only", mount.read_only, 0),
                                            STR("fs", mount.fs, 0),
                                            INT("size", mount.size, 0, 1, EXACT_MAX),
                                            {0}};
static const struct field unmount_fields[] = {STR("mount_point", unmount.mount_point, REQUIRED),
                                              {0}};
static const struct field session_create_fields[] = {
    INT("uid", session_create.uid, REQUIRED, 0, UID_LAST),
    STR("username", session_create.username, 0),
    INT("gid", session_create.gid, 0, 0, UID_LAST),
    LIST("groups", session_create.groups, F_U32_LIST),
    STR("home", session_create.home, 0),
    STR("shell", session_create.shell, 0),
    {0}};
static const struct field binary_install_fields[] = {
    STR("name", binary_install.name, REQUIRED),
    BYTES("data", binary_install.data, F_BASE64, REQUIRED),
    BOOL("executable", binary_install.executable, TRUE_BY_DEFAULT | ALWAYS),
    {0}};
static const struct field fs_read_fields[] = {STR("path", fs_read.path, REQUIRED), {0}};
static const struct field load_state_fields[] = {STR("session_id", load_state.session_id, REQUIRED),
                                                 STR("state_path", load_state.state_path, REQUIRED),
                                                 {0}};
static const struct field is_running_fields[] = {STR("handle", is_running.handle, REQUIRED), {0}};
static const struct field session_destroy_fields[] = {
    INT("uid", session_destroy.uid, REQUIRED, 0, UID_LAST),
    BOOL("delete_home", session_destroy.delete_home, 0),
    {0}};
static const struct field hello_fields[] = {INT("version", hello.version, REQUIRED, 1, 1000000),
                                            LIST("features", hello.features, F_STR_LIST),
                                            {0}};
static const struct field resume_fields[] = {INT("time_us", resume.time_us, REQUIRED, 0, EXACT_MAX),
                                             BYTES("entropy", resume.entropy, F_BASE64, REQUIRED),
                                             {0}};
static const struct field probe_fields[] = {INT("port", probe.port, 0, 1, 65535),
                                            STR("path", probe.path, 0),
                                            BOOL("network", probe.network, 0),
                                            {0}};
static const struct field prepare_fields[] = {
    INT("max_processes", prepare.max_processes, 0, 1, 4194304), {0}};
static const struct field spawned_fields[] = {
    INT("pid", spawned.pid, REQUIRED, 1, 4194304),
    STR("handle", spawned.handle, REQUIRED),
    INT("asked_us", spawned.asked_us, 0, 0, EXACT_MAX),
    INT("started_us", spawned.started_us, 0, 0, EXACT_MAX),
    {0}};
static const struct field output_fields[] = {BYTES("data", output.data, F_BYTES, REQUIRED), {0}};
static const struct field data_fields[] = {BYTES("data", output.data, F_BASE64, REQUIRED), {0}};
static const struct field exit_fields[] = {INT("code", exit.code, REQUIRED, 0, 255),
                                           INT("signal", exit.signal, 0, 1, 64),
                                           BOOL("out_of_memory", exit.out_of_memory, 0),
                                           INT("ended_us", exit.ended_us, 0, 0, EXACT_MAX),
                                           {0}};
static const struct field error_fields[] = {INT("code", error.code, REQUIRED, -32768, -1),
                                            STR("message", error.message, REQUIRED),
                                            INT("errno", error.errnum, 0, 1, 4095),
                                            {0}};
static const struct field ok_fields[] = {INT("uid", ok.uid, 0, 0, UID_LAST),
                                         INT("gid", ok.gid, 0, 0, UID_LAST),
                                         STR("username", ok.username, 0),
                                         STR("home_dir", ok.home_dir, 0),
                                         {0}};
static const struct field running_status_fields[] = {
    STR("handle", running_status.handle, REQUIRED),
    BOOL("running", running_status.running, REQUIRED | ALWAYS),
    INT("pid", running_status.pid, 0, 1, 4194304),
    {0}};
static const struct field network_status_fields[] = {
    BOOL("connected", network_status.connected, REQUIRED | ALWAYS),
    STR("interface", network_status.interface, REQUIRED),
    STR("ip_address", network_status.ip_address, 0),
    {0}};
static const struct field hello_ok_fields[] = {
    INT("version", hello_ok.version, REQUIRED, 1, 1000000),
    LIST("features", hello_ok.features, F_STR_LIST),
    INT("frame_max", hello_ok.frame_max, REQUIRED, 1, EXACT_MAX),
    INT("stdin_window", hello_ok.stdin_window, REQUIRED, 1, EXACT_MAX),
    STR("boot_id", hello_ok.boot_id, 0),
    INT("began_us", hello_ok.began_us, 0, 0, EXACT_MAX),
    INT("listening_us", hello_ok.listening_us, 0, 0, EXACT_MAX),
    INT("now_us", hello_ok.now_us, 0, 0, EXACT_MAX),
    {0}};
static const struct field stdin_window_fields[] = {
    STR("handle", stdin_window.handle, REQUIRED),
    INT("bytes", stdin_window.bytes, REQUIRED, 0, EXACT_MAX),
    {0}};
static const struct field no_fields[] = {{0}};

/* A type without an entry has no JSON payload. */
static const struct field *const fields_of[256] = {
    [KAGE_MSG_SPAWN] = spawn_fields,
    [KAGE_MSG_STDIN] = stdin_fields,
    [KAGE_MSG_KILL] = kill_fields,
    [KAGE_MSG_RESIZE] = resize_fields,
    [KAGE_MSG_MOUNT] = mount_fields,
    [KAGE_MSG_UNMOUNT] = unmount_fields,
    [KAGE_MSG_SESSION_CREATE] = session_create_fields,
    [KAGE_MSG_BINARY_INSTALL] = binary_install_fields,
    [KAGE_MSG_FS_READ] = fs_read_fields,
    [KAGE_MSG_LOAD_STATE] = load_state_fields,
    [KAGE_MSG_IS_RUNNING] = is_running_fields,
    [KAGE_MSG_SESSION_DESTROY] = session_destroy_fields,
    [KAGE_MSG_HELLO] = hello_fields,
    [KAGE_MSG_STDIN_CLOSE] = stdin_close_fields,
    [KAGE_MSG_RESUME] = resume_fields,
    [KAGE_MSG_PROBE] = probe_fields,
    [KAGE_MSG_PARK] = no_fields,
    [KAGE_MSG_ADOPT] = no_fields,
    [KAGE_MSG_PREPARE] = prepare_fields,
    [KAGE_MSG_SPAWNED] = spawned_fields,
    [KAGE_MSG_STDOUT] = output_fields,
    [KAGE_MSG_STDERR] = output_fields,
    [KAGE_MSG_EXIT] = exit_fields,
    [KAGE_MSG_ERROR] = error_fields,
    [KAGE_MSG_OK] = ok_fields,
    [KAGE_MSG_DATA] = data_fields,
    [KAGE_MSG_RUNNING_STATUS] = running_status_fields,
    [KAGE_MSG_NETWORK_STATUS] = network_status_fields,
    [KAGE_MSG_HELLO_OK] = hello_ok_fields,
    [KAGE_MSG_STDIN_WINDOW] = stdin_window_fields,
    [KAGE_MSG_PING] = no_fields,
    [KAGE_MSG_PONG] = no_fields,
};

static void *slot(struct kage_msg *msg, size_t at)
{
    return (char *)msg + at;
}

static const void *const_slot(const struct kage_msg *msg, size_t at)
{
    return (const char *)msg + at;
}

void kage_msg_init(struct kage_msg *msg, enum kage_msg_type type)
{
    memset(msg, 0, sizeof *msg);
    msg->type = type;
    msg->id = KAGE_UNSET;
    for (const struct field *f = fields_of[type & 0xFF]; f && f->name; f++) {
        if (f->kind == F_INT)
            *(int64_t *)slot(msg, f->at) = KAGE_UNSET;
        else if (f->kind == F_BOOL)
            *(bool *)slot(msg, f->at) = f->flags & TRUE_BY_DEFAULT;
    }
}

static void str_list_done(struct kage_str_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct kage_str_list){0};
}

void kage_msg_done(struct kage_msg *msg)
{
    for (const struct field *f = fields_of[msg->type & 0xFF]; f && f->name; f++) {
        switch (f->kind) {
        case F_STR:
        case F_BYTES:
        case F_BASE64:
            kage_freep(slot(msg, f->at));
            break;
        case F_STR_LIST:
        case F_ENV:
            str_list_done(slot(msg, f->at));
            break;
        case F_U32_LIST:
            kage_freep(&((struct kage_u32_list *)slot(msg, f->at))->items);
            ((struct kage_u32_list *)slot(msg, f->at))->n = 0;
            break;
        case F_BOOL:
        case F_INT:
            break;
        }
    }
}

/* ---- decoding ---- */

static int invalid(char **why, const char *name, const char *what)
{
    free(*why);
    *why = kage_asprintf("field '%s' %s", name, what);
    return KAGE_RPC_INVALID_PARAMS;
}

/* cJSON ends a string at \u0000 without a word, so such payloads are refused before parsing. */
static bool has_nul_escape(const char *s, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (s[i] != '\\')
            continue;
        if (s[i + 1] == 'u' && n - i >= 6 && !memcmp(s + i + 2, "0000", 4))
            return true;
        i++; /* the escaped character, a second backslash included */
    }
    return false;
}

static int get_int(const cJSON *item, int64_t min, int64_t max, int64_t *ret)
{
    double d = cJSON_IsNumber(item) ? item->valuedouble : NAN;

    if (!(d >= -(double)EXACT_MAX && d <= (double)EXACT_MAX) || d != floor(d))
        return -1;
    if ((int64_t)d < min || (int64_t)d > max)
        return -1;
    *ret = (int64_t)d;
    return 0;
}

static int get_str_list(const cJSON *item, struct kage_str_list *list)
{
    const cJSON *e;

    if (!cJSON_IsArray(item))
        return -1;
    list->items = kage_alloc(((size_t)cJSON_GetArraySize(item) + 1) * sizeof *list->items);
    cJSON_ArrayForEach(e, item)
    {
        if (!cJSON_IsString(e))
            return -1;
        list->items[list->n++] = kage_strdup(e->valuestring);
    }
    return 0;
}

static int get_u32_list(const cJSON *item, struct kage_u32_list *list)
{
    const cJSON *e;

    if (!cJSON_IsArray(item))
        return -1;
    list->items = kage_alloc(((size_t)cJSON_GetArraySize(item) + 1) * sizeof *list->items);
    cJSON_ArrayForEach(e, item)
    {
        int64_t v;

        if (get_int(e, 0, UID_LAST, &v) < 0)
            return -1;
        list->items[list->n++] = (uint32_t)v;
    }
    return 0;
}

/* More variables than any shell hands on; every name is compared with every other. */
#define ENV_MAX 4096

static int get_env(const cJSON *item, struct kage_str_list *list)
{
    const cJSON *e;

    if (!cJSON_IsObject(item) || cJSON_GetArraySize(item) > ENV_MAX)
        return -1;
    list->items = kage_alloc(((size_t)cJSON_GetArraySize(item) + 1) * sizeof *list->items);
    cJSON_ArrayForEach(e, item)
    {
        if (!cJSON_IsString(e) || !*e->string || strchr(e->string, '='))
            return -1;
        for (const cJSON *other = item->child; other != e; other = other->next)
            if (!strcmp(other->string, e->string))
                return -1;
        list->items[list->n++] = kage_asprintf("%s=%s", e->string, e->valuestring);
    }
    return 0;
}

static int get_bytes(const cJSON *item, bool base64, char **data, size_t *len)
{
    unsigned char *bytes;

    if (!cJSON_IsString(item))
        return -1;
    if (base64) {
        if (kage_base64_decode(item->valuestring, strlen(item->valuestring), &bytes, len) < 0)
            return -1;
        *data = (char *)bytes;
        return 0;
    }
    *len = strlen(item->valuestring);
    *data = kage_strndup(item->valuestring, *len);
    return 0;
}

static int decode_field(struct kage_msg *msg, const struct field *f, const cJSON *item, bool base64,
                        char **why)
{
    void *p = slot(msg, f->at);

    switch (f->kind) {
    case F_STR:
        if (!cJSON_IsString(item))
            return invalid(why, f->name, "must be a string");
        *(char **)p = kage_strdup(item->valuestring);
        return 0;
    case F_BYTES:
    case F_BASE64:
        if (get_bytes(item, base64 || f->kind == F_BASE64, p, slot(msg, f->len_at)) < 0)
            return invalid(why, f->name,
                           base64 || f->kind == F_BASE64 ? "must be base64 text"
                                                         : "must be a string");
        return 0;
    case F_BOOL:
        if (!cJSON_IsBool(item))
            return invalid(why, f->name, "must be true or false");
        *(bool *)p = cJSON_IsTrue(item);
        return 0;
    case F_INT:
        if (get_int(item, f->min, f->max, p) < 0) {
            free(*why);
            *why = kage_asprintf("field '%s' must be an integer from %" PRId64 " to %" PRId64,
                                 f->name, f->min, f->max);
            return KAGE_RPC_INVALID_PARAMS;
        }
        return 0;
    case F_STR_LIST:
        return get_str_list(item, p) < 0 ? invalid(why, f->name, "must be a list of strings") : 0;
    case F_U32_LIST:
        return get_u32_list(item, p) < 0 ? invalid(why, f->name, "must be a list of ids") : 0;
    case F_ENV:
        return get_env(item, p) < 0 ? invalid(why, f->name, "must map names to strings") : 0;
    }
    return 0;
}

static const struct field *find_field(const struct field *fields, const char *name)
{
    for (const struct field *f = fields; f->name; f++)
        if (!strcasecmp(f->name, name))
            return f;
    return NULL;
}

/* Refuses what cJSON would let pass: a name twice, or one that differs from ours in case only. */
static int check_names(const cJSON *object, const struct field *fields, char **why)
{
    const cJSON *e, *other;

    cJSON_ArrayForEach(e, object)
    {
        const struct field *f = find_field(fields, e->string);

        if (f && strcmp(f->name, e->string) != 0)
            return invalid(why, f->name, "is written in another case");
        if (!strcasecmp(e->string, "id") && strcmp(e->string, "id") != 0)
            return invalid(why, "id", "is written in another case");
        for (other = e->next; other; other = other->next)
            if (!strcmp(e->string, other->string))
                return invalid(why, f ? f->name : "?", "stands twice");
    }
    return 0;
}

/* More members than any message has are not worth comparing pair by pair. */
#define MEMBERS_MAX 64

static int decode_object(struct kage_msg *msg, const struct field *fields, const cJSON *root,
                         char **why)
{
    const cJSON *encoding = cJSON_GetObjectItemCaseSensitive(root, "encoding");
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(root, "id");
    bool base64 = false;
    int r;

    if (id && !cJSON_IsNull(id) && get_int(id, 0, UINT32_MAX, &msg->id) < 0)
        return invalid(why, "id", "must be an integer from 0 to 4294967295");
    if (cJSON_GetArraySize(root) > MEMBERS_MAX)
        return invalid(why, "?", "is one of too many");
    if ((r = check_names(root, fields, why)))
        return r;
    if (encoding && !cJSON_IsNull(encoding)) {
        if (!cJSON_IsString(encoding) || (strcmp(encoding->valuestring, "base64") != 0 &&
                                          strcmp(encoding->valuestring, "utf-8") != 0))
            return invalid(why, "encoding", "must be \"base64\" or \"utf-8\"");
        base64 = !strcmp(encoding->valuestring, "base64");
    }
    for (const struct field *f = fields; f->name; f++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, f->name);

        if (!item || cJSON_IsNull(item)) {
            if (f->flags & REQUIRED)
                return invalid(why, f->name, "is missing");
            continue;
        }
        if ((r = decode_field(msg, f, item, base64, why)))
            return r;
    }
    return 0;
}

int kage_msg_decode(struct kage_msg *msg, enum kage_msg_type type, const uint8_t *payload,
                    size_t len, char **why)
{
    const struct field *fields = fields_of[type & 0xFF];
    const char *text = len ? (const char *)payload : "{}";
    const char *end = NULL;
    cJSON *root;
    int r;

    kage_msg_init(msg, type);
    *why = NULL;
    if (!fields) {
        *why = kage_strdup("this message type has no JSON payload");
        return KAGE_RPC_INVALID_REQUEST;
    }
    len = len ? len : 2;
    if (!kage_utf8_valid(text, len)) {
        *why = kage_strdup("the payload is not valid UTF-8");
        return KAGE_RPC_PARSE;
    }
    if (has_nul_escape(text, len) || memchr(text, 0, len)) {
        *why = kage_strdup("the payload holds a NUL character; send bytes as base64");
        return KAGE_RPC_INVALID_PARAMS;
    }
    /* Before parsing: the tree of 16 MiB of small values takes 800 MiB, and either side may be
     * hostile to the other. */
    if (kage_json_values(text, len) > KAGE_MSG_VALUES_MAX) {
        *why = kage_asprintf("the payload holds more than %u values", KAGE_MSG_VALUES_MAX);
        return KAGE_RPC_INVALID_PARAMS;
    }
    root = cJSON_ParseWithLengthOpts(text, len, &end, false);
    while (root && end < text + len && strchr(" \t\r\n", *end))
        end++;
    if (!root || end != text + len || !cJSON_IsObject(root)) {
        cJSON_Delete(root);
        *why = kage_strdup("the payload is not one JSON object");
        return KAGE_RPC_PARSE;
    }
    r = decode_object(msg, fields, root, why);
    cJSON_Delete(root);
    if (r)
        kage_msg_done(msg);
    return r;
}

/* ---- encoding ---- */

static void put_str(struct kage_buf *out, const char *s, size_t n)
{
    kage_buf_addc(out, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '"' || c == '\\')
            kage_buf_addf(out, "\\%c", c);
        else if (c == '\n')
            kage_buf_adds(out, "\\n");
        else if (c < 0x20 || c == 0x7F)
            kage_buf_addf(out, "\\u%04x", c);
        else
            kage_buf_addc(out, (char)c);
    }
    kage_buf_addc(out, '"');
}

static void put_name(struct kage_buf *out, const char *name)
{
    if (out->data[out->len - 1] != '{')
        kage_buf_addc(out, ',');
    kage_buf_addf(out, "\"%s\":", name);
}

static void put_bytes(struct kage_buf *out, const struct field *f, const char *data, size_t len)
{
    bool base64 =
        f->kind == F_BASE64 || !kage_utf8_valid(data, len) || (len && memchr(data, 0, len));
    KAGE_CLEANUP(kage_freep) char *text = NULL;

    put_name(out, f->name);
    if (!base64) {
        put_str(out, data, len);
        return;
    }
    text = kage_base64_encode(data, len);
    kage_buf_addf(out, "\"%s\"", text);
    if (f->kind == F_BYTES)
        kage_buf_adds(out, ",\"encoding\":\"base64\"");
}

static void put_str_list(struct kage_buf *out, const struct kage_str_list *list)
{
    kage_buf_addc(out, '[');
    for (size_t i = 0; i < list->n; i++) {
        if (i)
            kage_buf_addc(out, ',');
        put_str(out, list->items[i], strlen(list->items[i]));
    }
    kage_buf_addc(out, ']');
}

static void put_env(struct kage_buf *out, const struct kage_str_list *list)
{
    kage_buf_addc(out, '{');
    for (size_t i = 0; i < list->n; i++) {
        const char *eq = strchr(list->items[i], '=');
        size_t name_len = eq ? (size_t)(eq - list->items[i]) : strlen(list->items[i]);

        if (i)
            kage_buf_addc(out, ',');
        put_str(out, list->items[i], name_len);
        kage_buf_addc(out, ':');
        put_str(out, eq ? eq + 1 : "", eq ? strlen(eq + 1) : 0);
    }
    kage_buf_addc(out, '}');
}

static void put_u32_list(struct kage_buf *out, const struct kage_u32_list *list)
{
    kage_buf_addc(out, '[');
    for (size_t i = 0; i < list->n; i++)
        kage_buf_addf(out, "%s%" PRIu32, i ? "," : "", list->items[i]);
    kage_buf_addc(out, ']');
}

static void encode_field(const struct kage_msg *msg, const struct field *f, struct kage_buf *out)
{
    const void *p = const_slot(msg, f->at);

    switch (f->kind) {
    case F_STR: {
        const char *s = *(char *const *)p;

        if (s) {
            put_name(out, f->name);
            put_str(out, s, strlen(s));
        }
        break;
    }
    case F_BYTES:
    case F_BASE64:
        if (*(char *const *)p || f->flags & REQUIRED)
            put_bytes(out, f, *(char *const *)p ? *(char *const *)p : "",
                      *(const size_t *)const_slot(msg, f->len_at));
        break;
    case F_BOOL:
        if (*(const bool *)p || f->flags & ALWAYS) {
            put_name(out, f->name);
            kage_buf_adds(out, *(const bool *)p ? "true" : "false");
        }
        break;
    case F_INT:
        if (*(const int64_t *)p != KAGE_UNSET) {
            put_name(out, f->name);
            kage_buf_addf(out, "%" PRId64, *(const int64_t *)p);
        }
        break;
    case F_STR_LIST:
        if (((const struct kage_str_list *)p)->n) {
            put_name(out, f->name);
            put_str_list(out, p);
        }
        break;
    case F_ENV:
        if (((const struct kage_str_list *)p)->n) {
            put_name(out, f->name);
            put_env(out, p);
        }
        break;
    case F_U32_LIST:
        if (((const struct kage_u32_list *)p)->n) {
            put_name(out, f->name);
            put_u32_list(out, p);
        }
        break;
    }
}

void kage_msg_encode(const struct kage_msg *msg, struct kage_buf *out)
{
    kage_buf_addc(out, '{');
    if (msg->id != KAGE_UNSET)
        kage_buf_addf(out, "\"id\":%" PRId64, msg->id);
    for (const struct field *f = fields_of[msg->type & 0xFF]; f && f->name; f++)
        encode_field(msg, f, out);
    kage_buf_addc(out, '}');
}
