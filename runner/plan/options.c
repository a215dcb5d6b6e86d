#include "runner/plan/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

enum option_form {
    FORM_FLAG, /* no value */
    FORM_TEXT, /* free text; `first` is the only one allowed unless NULL */
    FORM_HOLE, /* exactly %{first} */
    FORM_KEYS, /* [first,]key=value,… */
};

/* `first`: the words that may come before the keys, separated by spaces; NULL for none.
 * `keys`: the keys that may follow; those after '|' take a descriptor placeholder and nothing
 * else. `driver` may be %{rootfs-format}, which stands for the word raw or qcow2. */
static const struct option {
    const char *flag;
    enum option_form form;
    const char *first;
    const char *keys;
} options[] = {
    {"-name", FORM_KEYS, NULL, "guest"},
    {"-nodefaults", FORM_FLAG, NULL, NULL},
    {"-no-user-config", FORM_FLAG, NULL, NULL},
    {"-no-reboot", FORM_FLAG, NULL, NULL},
    {"-display", FORM_TEXT, "none", NULL},
    {"-sandbox", FORM_TEXT, KAGE_QEMU_SANDBOX, NULL},
    {"-machine", FORM_KEYS, "q35 virt", "smm hpet smbus sata usb vmport i8042 gic-version"},
    {"-accel", FORM_KEYS, "tcg kvm hvf", ""},
    {"-cpu", FORM_KEYS, "max host", "la57 erms pauth-impdef"},
    {"-smp", FORM_TEXT, NULL, NULL},
    {"-m", FORM_TEXT, NULL, NULL},
    {"-bios", FORM_TEXT, "qboot.rom", NULL},
    {"-rtc", FORM_KEYS, NULL, "base clock"},
    {"-kernel", FORM_HOLE, "kernel", NULL},
    {"-initrd", FORM_HOLE, "initrd", NULL},
    {"-append", FORM_TEXT, NULL, NULL},
    {"-fw_cfg", FORM_KEYS, NULL, "name|file"},
    {"-chardev", FORM_KEYS, "socket", "id|fd"},
    {"-serial", FORM_TEXT, "chardev:console", NULL},
    {"-mon", FORM_KEYS, NULL, "chardev mode"},
    {"-netdev", FORM_KEYS, "user", "id net host dns dhcpstart ipv6 restrict hostfwd"},
    {"-fsdev", FORM_KEYS, "local", "id security_model multidevs readonly|path"},
    {"-blockdev", FORM_KEYS, NULL, "driver node-name read-only file locking discard|filename"},
    {"-device", FORM_KEYS,
     "virtio-serial-pci virtserialport virtio-net-pci virtio-9p-pci virtio-blk-pci",
     "max_ports chardev name netdev mac romfile fsdev mount_tag drive serial disable-legacy "
     "ctrl_vq ctrl_rx ctrl_vlan "
     "ctrl_rx_extra "
     "ctrl_mac_addr ctrl_guest_offloads guest_announce"},
};

#define FORMAT_HOLE "rootfs-format"

static const char *const placeholders[] = {"kernel",  "initrd",  "rootfs", FORMAT_HOLE, "qmp",
                                           "console", "control", "token",  "scratch"};

static const struct option *find_option(const char *flag)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (strcmp(options[i].flag, flag) == 0)
            return &options[i];
    return NULL;
}

const char *kage_cmdline_words(const char *flag)
{
    const struct option *o = find_option(flag);

    return o ? o->first : NULL;
}

/* Is word[0..len) one of the words of `list`? *after_bar tells on which side of '|' it stood. */
static bool in_list(const char *list, const char *word, size_t len, bool *after_bar)
{
    bool bar = false;

    while (list && *list) {
        size_t n = strcspn(list, " |");

        if (n == len && memcmp(list, word, n) == 0) {
            if (after_bar)
                *after_bar = bar;
            return true;
        }
        list += n;
        if (*list == '|')
            bar = true;
        if (*list)
            list++;
    }
    return false;
}

bool kage_placeholder_valid(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(placeholders) / sizeof(placeholders[0]); i++)
        if (strlen(placeholders[i]) == len && memcmp(placeholders[i], name, len) == 0)
            return true;
    if (len <= 6 || len > 6 + 63 || memcmp(name, "share:", 6) != 0)
        return false;
    for (size_t i = 6; i < len; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
              (name[i] >= '0' && name[i] <= '9') || name[i] == '-' || name[i] == '_' ||
              name[i] == '.'))
            return false;
    return true;
}

void kage_cmdline_fail(struct kage_cmdline *c, struct kage_loc loc, enum kage_class class,
                       const char *fmt, ...)
{
    va_list ap;
    KAGE_CLEANUP(kage_freep) char *text = NULL;
    struct kage_buf b = {0};

    if (c->failed)
        return;
    c->failed = true;
    va_start(ap, fmt);
    kage_buf_vaddf(&b, fmt, ap);
    va_end(ap);
    text = kage_buf_take(&b);
    kage_error_set(c->err, class, "%s", text);
    if (c->err)
        c->err->loc = loc;
}

static void add_arg(struct kage_cmdline *c, const char *text)
{
    c->args = kage_array_grow(c->args, &c->cap, c->n + 1, sizeof(*c->args));
    c->args[c->n++] = (struct kage_plan_arg){kage_strdup(text), c->loc};
}

/* What QEMU and a terminal can both take: UTF-8 without control characters. */
static bool printable(const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return kage_utf8_valid(s, n);
}

static bool begin(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                  enum option_form form)
{
    const struct option *o = find_option(flag);

    if (c->failed)
        return false;
    c->loc = loc;
    c->flag = flag;
    if (!o || o->form != form) {
        kage_cmdline_fail(c, loc, KAGE_CLASS_INTERNAL, "%s is not a QEMU option kage uses", flag);
        return false;
    }
    kage_buf_clear(&c->value);
    return true;
}

/* Appends text with '%' doubled, and ',' too where it would end a value. */
static void add_literal(struct kage_cmdline *c, const char *text, bool commas)
{
    if (!printable(text)) {
        KAGE_CLEANUP(kage_freep) char *shown = kage_printable(text, strlen(text));

        kage_cmdline_fail(c, c->loc, KAGE_CLASS_SPEC,
                          "'%s' cannot be given to QEMU: it holds control characters or is not "
                          "UTF-8",
                          shown);
        return;
    }
    for (; *text; text++) {
        kage_buf_addc(&c->value, *text);
        if (*text == '%' || (commas && *text == ','))
            kage_buf_addc(&c->value, *text);
    }
}

static void add_hole(struct kage_cmdline *c, const char *name)
{
    if (!kage_placeholder_valid(name, strlen(name))) {
        KAGE_CLEANUP(kage_freep) char *shown = kage_printable(name, strlen(name));

        kage_cmdline_fail(c, c->loc, KAGE_CLASS_SPEC, "'%s' is not a name a plan can use", shown);
        return;
    }
    kage_buf_addf(&c->value, "%%{%s}", name);
}

static void finish(struct kage_cmdline *c)
{
    if (c->failed)
        return;
    add_arg(c, c->flag);
    add_arg(c, c->value.data ? c->value.data : "");
}

void kage_cmdline_flag(struct kage_cmdline *c, struct kage_loc loc, const char *flag)
{
    if (begin(c, loc, flag, FORM_FLAG))
        add_arg(c, flag);
}

void kage_cmdline_text(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                       const char *text)
{
    if (!begin(c, loc, flag, FORM_TEXT))
        return;
    add_literal(c, text, false);
    finish(c);
}

void kage_cmdline_hole(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                       const char *name)
{
    if (!begin(c, loc, flag, FORM_HOLE))
        return;
    add_hole(c, name);
    finish(c);
}

void kage_cmdline_open(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                       const char *first)
{
    if (!begin(c, loc, flag, FORM_KEYS))
        return;
    if (first)
        kage_buf_adds(&c->value, first);
}

static bool begin_key(struct kage_cmdline *c, const char *key)
{
    if (c->failed)
        return false;
    if (c->value.len)
        kage_buf_addc(&c->value, ',');
    kage_buf_addf(&c->value, "%s=", key);
    return true;
}

void kage_cmdline_key(struct kage_cmdline *c, const char *key, const char *fmt, ...)
{
    va_list ap;
    struct kage_buf b = {0};

    if (!begin_key(c, key))
        return;
    va_start(ap, fmt);
    kage_buf_vaddf(&b, fmt, ap);
    va_end(ap);
    add_literal(c, b.data ? b.data : "", true);
    kage_buf_done(&b);
}

void kage_cmdline_key_hole(struct kage_cmdline *c, const char *key, const char *prefix,
                           const char *name)
{
    if (!begin_key(c, key))
        return;
    kage_buf_adds(&c->value, prefix);
    add_hole(c, name);
}

void kage_cmdline_close(struct kage_cmdline *c)
{
    finish(c);
}

void kage_cmdline_whole(struct kage_cmdline *c, struct kage_loc loc, const char *flag,
                        const char *value)
{
    if (!begin(c, loc, flag, FORM_KEYS))
        return;
    kage_buf_adds(&c->value, value);
    finish(c);
}

int kage_cmdline_end(struct kage_cmdline *c, struct kage_plan *plan)
{
    int rc = -1;

    kage_buf_done(&c->value);
    /* The same check that plan files go through: what is made here can be read back. */
    if (!c->failed && kage_cmdline_check(c->args, c->n, c->err) == 0) {
        plan->args = KAGE_TAKE(c->args);
        plan->n_args = c->n;
        rc = 0;
    }
    for (size_t i = 0; c->args && i < c->n; i++)
        kage_freep(&c->args[i].text);
    kage_freep(&c->args);
    c->n = c->cap = 0;
    return rc;
}

/* Is value[0..len) a descriptor placeholder, alone or at the end of the folder that lists a
 * process's descriptors? */
static bool is_descriptor(const char *value, size_t len)
{
    static const char *const folders[] = {"/proc/self/fd/", "/dev/fd/", ""};

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        size_t n = strlen(folders[i]);

        if (len > n + 3 && memcmp(value, folders[i], n) == 0 && memcmp(value + n, "%{", 2) == 0 &&
            value[len - 1] == '}')
            return kage_placeholder_valid(value + n + 2, len - n - 3);
    }
    return false;
}

/* Literal text: every '%' doubled, nothing a terminal would act on. */
static bool is_literal(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] != '%')
            continue;
        if (i + 1 >= len || s[i + 1] != '%')
            return false;
        i++;
    }
    return true;
}

/* The one item whose value is a word that only a run knows. */
static bool is_format(const char *item, size_t len)
{
    static const char text[] = "driver=%{" FORMAT_HOLE "}";

    return len == sizeof(text) - 1 && memcmp(item, text, len) == 0;
}

/* The end of the item at s: the first comma that is not doubled, or the end of the text. */
static size_t item_len(const char *s)
{
    size_t i = 0;

    while (s[i]) {
        if (s[i] == ',') {
            if (s[i + 1] != ',')
                break;
            i++;
        }
        i++;
    }
    return i;
}

static bool check_keys(const struct option *o, const char *s)
{
    if (o->first) {
        size_t n = item_len(s);

        if (!in_list(o->first, s, n, NULL))
            return false;
        s += n;
        if (*s)
            s++;
    }
    while (*s) {
        size_t n = item_len(s);
        const char *eq = memchr(s, '=', n);
        bool descriptor;

        if (!eq || !in_list(o->keys, s, (size_t)(eq - s), &descriptor))
            return false;
        eq++;
        if (!(descriptor ? is_descriptor : is_literal)(eq, (size_t)(s + n - eq)) &&
            !is_format(s, n))
            return false;
        s += n;
        if (*s)
            s++;
    }
    return true;
}

static bool check_value(const struct option *o, const char *value)
{
    KAGE_CLEANUP(kage_freep) char *hole = NULL;

    if (!printable(value))
        return false;
    switch (o->form) {
    case FORM_FLAG:
        return false;
    case FORM_TEXT:
        return o->first ? strcmp(value, o->first) == 0 : is_literal(value, strlen(value));
    case FORM_HOLE:
        hole = kage_asprintf("%%{%s}", o->first);
        return strcmp(value, hole) == 0;
    case FORM_KEYS:
        return check_keys(o, value);
    }
    return false;
}

bool kage_cmdline_takes_value(const char *flag)
{
    const struct option *o = find_option(flag);

    return o && o->form != FORM_FLAG;
}

int kage_cmdline_check(const struct kage_plan_arg *args, size_t n, struct kage_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct option *o = find_option(args[i].text);
        KAGE_CLEANUP(kage_freep) char *flag = kage_printable(args[i].text, strlen(args[i].text));
        KAGE_CLEANUP(kage_freep) char *value = NULL;

        if (!o)
            return kage_error_set(err, KAGE_CLASS_SPEC, "'%s' is not a QEMU option kage uses",
                                  flag);
        if (o->form == FORM_FLAG)
            continue;
        if (++i == n)
            return kage_error_set(err, KAGE_CLASS_SPEC, "the QEMU option %s lacks its value", flag);
        if (check_value(o, args[i].text))
            continue;
        value = kage_printable(args[i].text, strlen(args[i].text));
        return kage_error_set(err, KAGE_CLASS_SPEC, "'%s' is not a value kage gives to %s", value,
                              flag);
    }
    return 0;
}
