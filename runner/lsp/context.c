#include "runner/lsp/context.h"

#include <ctype.h>
#include <string.h>

/*
 * A reader of half-written YAML. It knows indentation, `- `, `key:`, flow maps and lists, quotes,
 * comments and block scalars, and keeps a stack of what the cursor is inside of. Each step is a key
 * or an item; the table of fields then says what the path means.
 */
#define MAX_STEPS 40
#define MAX_KEY 40

struct step {
    int indent; /* -1: inside { } or [ ] */
    bool item;
    char open; /* '{' or '[' that began it */
    char key[MAX_KEY];
};

struct stack {
    struct step steps[MAX_STEPS];
    size_t n;
    size_t word; /* where what is being typed starts */
    bool value;  /* it is a value: a key and ':' stand before it */
    bool text;   /* the cursor is in a comment or a block scalar */
    size_t flows;
    int block; /* lines indented deeper than this belong to a block scalar; -1: none */
};

static void push(struct stack *s, int indent, bool item, char open, const char *key, size_t n)
{
    if (s->n == MAX_STEPS)
        return;
    struct step *step = &s->steps[s->n++];
    *step = (struct step){.indent = indent, .item = item, .open = open};
    if (n < MAX_KEY)
        memcpy(step->key, key, n);
}

static size_t skip_quoted(const char *s, size_t i, size_t end)
{
    char quote = s[i++];
    while (i < end && s[i] != quote)
        i += s[i] == '\\' && quote == '"' ? 2 : 1;
    return i < end ? i + 1 : end;
}

/* Where the key that starts at i ends, if it is one: at its ':' with a blank behind it. */
static bool find_colon(const char *s, size_t i, size_t end, size_t *colon)
{
    bool flow_end = false;
    while (i < end && !flow_end) {
        if (s[i] == ':' && (i + 1 == end || strchr(" \t\r\n", s[i + 1]))) {
            *colon = i;
            return true;
        }
        flow_end = strchr(",{}[]#", s[i]) != NULL;
        i = (s[i] == '"' || s[i] == '\'') ? skip_quoted(s, i, end) : i + 1;
    }
    return false;
}

static void strip_quotes(const char *s, size_t *start, size_t *end)
{
    if (*end > *start + 1 && (s[*start] == '"' || s[*start] == '\'')) {
        (*start)++;
        (*end)--;
    }
}

/* Ends the key that stands alone in a flow map: `{a: 1, ` */
static void end_entry(struct stack *s)
{
    if (s->n && s->steps[s->n - 1].indent < 0 && !s->steps[s->n - 1].open)
        s->n--;
    s->value = s->n && s->steps[s->n - 1].open == '[';
}

static void read_flow(struct stack *s, const char *text, size_t i, size_t end)
{
    size_t colon;
    s->word = i;
    while (i < end) {
        char c = text[i];
        bool structure = s->flows > 0;
        if ((c == '{' || c == '[') && (structure || i == s->word)) {
            push(s, -1, c == '[', c, "", 0);
            s->flows++;
            s->value = c == '[';
            s->word = ++i;
        } else if (structure && (c == '}' || c == ']')) {
            end_entry(s);
            if (s->n && s->steps[s->n - 1].indent < 0)
                s->n--;
            s->flows -= s->flows > 0;
            s->value = true;
            s->word = ++i;
        } else if (structure && c == ',') {
            end_entry(s);
            s->word = ++i;
        } else if (c == '#' && i && strchr(" \t", text[i - 1])) {
            s->text = true;
            return;
        } else if (strchr(" \t\r", c)) {
            if (i == s->word)
                s->word++;
            i++;
        } else if (s->flows && !s->value && find_colon(text, i, end, &colon)) {
            size_t from = i, to = colon;
            strip_quotes(text, &from, &to);
            push(s, -1, false, '\0', text + from, to - from);
            s->value = true;
            s->word = i = colon + 1;
        } else {
            i = (c == '"' || c == '\'') ? skip_quoted(text, i, end) : i + 1;
        }
    }
}

static void read_block(struct stack *s, const char *text, size_t i, size_t end, bool last)
{
    int indent = 0;
    size_t colon;
    for (; i < end && text[i] == ' '; i++)
        indent++;
    if ((i == end || strchr("#\r", text[i])) && !last)
        return;
    if (s->block >= 0 && (indent > s->block || i == end)) {
        s->text = last && (indent > s->block);
        if (indent > s->block)
            return;
    }
    s->block = -1;
    s->text = i < end && text[i] == '#';
    s->value = false;
    s->word = i;
    for (;;) {
        bool item = i < end && text[i] == '-' && (i + 1 == end || text[i + 1] == ' ');
        /* a list may stand as deep as the key it belongs to */
        while (s->n &&
               (s->steps[s->n - 1].indent > indent ||
                (s->steps[s->n - 1].indent == indent && !(item && !s->steps[s->n - 1].item))))
            s->n--;
        if (!item)
            break;
        push(s, indent, true, '\0', "", 0);
        do {
            i++;
            indent++;
        } while (i < end && text[i] == ' ');
        s->word = i;
    }
    if (i < end && !strchr("{[", text[i]) && find_colon(text, i, end, &colon)) {
        size_t from = i, to = colon;
        strip_quotes(text, &from, &to);
        push(s, indent, false, '\0', text + from, to - from);
        s->value = true;
        size_t value = colon + 1;
        while (value < end && text[value] == ' ')
            value++;
        if (value < end && strchr("|>", text[value]))
            s->block = indent;
        read_flow(s, text, colon + 1, end);
    } else if (i < end && strchr("{[\"'", text[i])) {
        read_flow(s, text, i, end);
    }
}

/* What the path means. */
static void resolve(const struct stack *s, struct kage_context *ret)
{
    bool object = true; /* inside an object; otherwise at the value of a field */
    bool named = false; /* below a name of the user's in a map of names */
    ret->object = KAGE_OBJECT_JOB;
    ret->field = NULL;
    ret->known = true;
    for (size_t i = 0; i < s->n && ret->known; i++) {
        const struct step *step = &s->steps[i];
        const struct kage_field *f = ret->field;
        if (step->open == '{')
            continue;
        if (!object && f->type == KAGE_FIELD_OBJECT &&
            (f->shape == KAGE_SHAPE_ONE || (f->shape == KAGE_SHAPE_MAP && named)) && !step->item) {
            ret->object = f->object;
            object = true;
            named = false;
        }
        if (step->item) {
            ret->known =
                !object && (f->shape == KAGE_SHAPE_LIST || f->shape == KAGE_SHAPE_ONE_OR_LIST);
            if (ret->known && f->type == KAGE_FIELD_OBJECT) {
                ret->object = f->object;
                object = true;
            }
        } else if (object) {
            ret->field = kage_field_find(ret->object, step->key);
            ret->known = ret->field != NULL;
            object = false;
            named = false;
        } else {
            ret->known = f->shape == KAGE_SHAPE_MAP && !named;
            named = true;
        }
    }
    if (!ret->known)
        return;
    const struct kage_field *f = ret->field;
    ret->key = !s->value;
    if (ret->key && !object) {
        /* a new line below `machine:`, or below a name */
        bool inside = f->type == KAGE_FIELD_OBJECT &&
                      (f->shape == KAGE_SHAPE_ONE || (f->shape == KAGE_SHAPE_MAP && named));
        if (inside)
            ret->object = f->object;
        else if (f->shape == KAGE_SHAPE_LIST)
            ret->key = false;
        else
            ret->known = false;
    }
    if (!ret->key && object)
        ret->known = false;
}

void kage_context_find(const char *text, size_t cursor, struct kage_context *ret)
{
    struct stack s = {.block = -1};
    for (size_t i = 0; i <= cursor;) {
        const char *newline = memchr(text + i, '\n', cursor - i);
        size_t end = newline ? (size_t)(newline - text) : cursor;
        bool last = !newline;
        if (s.flows)
            read_flow(&s, text, i, end);
        else
            read_block(&s, text, i, end, last);
        i = end + 1;
    }
    *ret = (struct kage_context){.start = s.word};
    if (s.text || s.word > cursor)
        return;
    /* what is typed of a value starts behind the blanks */
    while (ret->start < cursor && strchr(" \t\"'", text[ret->start]))
        ret->start++;
    resolve(&s, ret);
}
