/* SPDX-License-Identifier: BSD-2-Clause */
/* See script.h. */
#include "script.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- the language ---- */

static const char *const whens[WHEN_COUNT] = {
    [WHEN_COMMAND] = "command", [WHEN_COMPLETION] = "completion", [WHEN_READ] = "read",
    [WHEN_WRITE] = "write",     [WHEN_INTERRUPT] = "interrupt",   [WHEN_MESSAGE] = "message",
    [WHEN_TIME] = "time",       [WHEN_ALWAYS] = "always",
};

#define HAS(what) (1u << WHAT_##what)

/* What there is besides at each event. */
#define BESIDE                                                                                               \
    (HAS(VANISH) | HAS(MUTE) | HAS(STORM) | HAS(TRESPASS) | HAS(TRUNCATE) | HAS(SHRINK) | HAS(CLOSE))

static const uint32_t instead[WHEN_COUNT] = {
    [WHEN_READ] = HAS(VALUE),
    [WHEN_WRITE] = HAS(IGNORE) | HAS(VALUE),
    [WHEN_INTERRUPT] = HAS(IGNORE) | HAS(TWICE) | HAS(VALUE),
    [WHEN_MESSAGE] = HAS(IGNORE) | HAS(LATE) | HAS(TWICE) | HAS(VALUE) | HAS(ID) | HAS(STATUS) |
                     HAS(GARBAGE) | HAS(FILL) | HAS(PUT) | HAS(SHORT) | HAS(SIZE) | HAS(DESCRIPTORS),
};

/* What follows the word. */
enum arguments { NOTHING, NUMBER, DURATION, PLACE };

static const struct {
    const char *word;
    enum arguments arguments;
} whats[WHAT_COUNT] = {
    [WHAT_IGNORE] = {"ignore", NOTHING},
    [WHAT_LATE] = {"late", DURATION},
    [WHAT_TWICE] = {"twice", NOTHING},
    [WHAT_VALUE] = {"value", NUMBER},
    [WHAT_ID] = {"id", NUMBER},
    [WHAT_STATUS] = {"status", NUMBER},
    [WHAT_QUEUE] = {"queue", NUMBER},
    [WHAT_HEAD] = {"head", NUMBER},
    [WHAT_STALE] = {"stale", NOTHING},
    [WHAT_GARBAGE] = {"garbage", NOTHING},
    [WHAT_FILL] = {"fill", NUMBER},
    [WHAT_PUT] = {"put", PLACE},
    [WHAT_SHORT] = {"short", NUMBER},
    [WHAT_SIZE] = {"size", NUMBER},
    [WHAT_DESCRIPTORS] = {"descriptors", NUMBER},
    [WHAT_VANISH] = {"vanish", NOTHING},
    [WHAT_MUTE] = {"mute", NOTHING},
    [WHAT_STORM] = {"storm", NUMBER},
    [WHAT_TRESPASS] = {"trespass", NOTHING},
    [WHAT_TRUNCATE] = {"truncate", NOTHING},
    [WHAT_SHRINK] = {"shrink", NOTHING},
    [WHAT_CLOSE] = {"close", NOTHING},
    [WHAT_RESHAPE] = {"reshape", NUMBER},
    [WHAT_DETACH] = {"detach", NUMBER},
    [WHAT_HABIT] = {"", NOTHING},
};

/* VFIO_USER_...: messages have the same names with every device. */
static const struct script_name messages[] = {
    {WHEN_MESSAGE, "version", 1, UINT64_MAX},       {WHEN_MESSAGE, "dma-map", 2, UINT64_MAX},
    {WHEN_MESSAGE, "dma-unmap", 3, UINT64_MAX},     {WHEN_MESSAGE, "get-info", 4, UINT64_MAX},
    {WHEN_MESSAGE, "region-info", 5, UINT64_MAX},   {WHEN_MESSAGE, "irq-info", 7, UINT64_MAX},
    {WHEN_MESSAGE, "set-irqs", 8, UINT64_MAX},      {WHEN_MESSAGE, "region-read", 9, UINT64_MAX},
    {WHEN_MESSAGE, "region-write", 10, UINT64_MAX}, {WHEN_MESSAGE, "reset", 13, UINT64_MAX},
};

static uint32_t actions(const struct script_names *names, enum script_when when)
{
    uint32_t own = when == WHEN_COMMAND      ? names->commands
                   : when == WHEN_COMPLETION ? names->completions
                                             : instead[when];

    return own | BESIDE | (names->reshapes ? HAS(RESHAPE) | HAS(DETACH) : 0);
}

/* The i-th name of such an event; NULL when there are no more. */
static const struct script_name *name_of(const struct script_names *names, enum script_when when, size_t i)
{
    const struct script_name *list = when == WHEN_MESSAGE ? messages : names->names;
    size_t count = when == WHEN_MESSAGE ? sizeof messages / sizeof messages[0] : names->count;

    for (size_t at = 0; at < count; at++)
        if (list[at].when == when && i-- == 0)
            return &list[at];
    return NULL;
}

/* ---- reading ---- */

enum { WORDS = 8, WORD = 32 };

struct line {
    const char *file;
    unsigned number;
    char words[WORDS][WORD];
    unsigned count;
    char *error;
    size_t error_size;
};

__attribute__((format(printf, 2, 3))) static bool wrong(struct line *line, const char *format, ...)
{
    va_list list;
    int length = snprintf(line->error, line->error_size, "%s:%u: ", line->file, line->number);

    va_start(list, format);
    if (length >= 0 && (size_t)length < line->error_size)
        vsnprintf(line->error + length, line->error_size - (size_t)length, format, list);
    va_end(list);
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Words are between blanks; a colon is a word of its own; what follows a # is for people. */
static bool split(struct line *line, const char *text, size_t size)
{
    size_t length = 0;

    line->count = 0;
    for (size_t i = 0; i <= size; i++) {
        char c = i < size ? text[i] : ' ';
        bool ends = is_blank(c) || c == ':' || c == '#';

        if (!ends && (c < ' ' || c > '~'))
            return wrong(line, "a character that is not ASCII: scripts are plain ASCII text");
        if (!ends && length == 0 && line->count == WORDS)
            return wrong(line, "more than %u words: a rule is WHEN [WHICH] N: WHAT", WORDS);
        if (!ends && length == WORD - 1)
            return wrong(line, "a word of more than %u letters", WORD - 1);
        if (!ends) {
            line->words[line->count][length++] = c;
            continue;
        }
        if (length > 0)
            line->words[line->count++][length] = '\0';
        length = 0;
        if (c == ':' && line->count == WORDS)
            return wrong(line, "more than %u words: a rule is WHEN [WHICH] N: WHAT", WORDS);
        if (c == ':')
            strcpy(line->words[line->count++], ":");
        if (c == '#')
            break;
    }
    return true;
}

/* Decimal, or hexadecimal after 0x. Returns where it ends, NULL if there is none. */
static const char *number(const char *text, uint64_t *value)
{
    unsigned base = text[0] == '0' && text[1] == 'x' ? 16 : 10;
    const char *at = base == 16 ? text + 2 : text;

    *value = 0;
    for (const char *first = at;; at++) {
        unsigned digit = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
                         : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a') + 10
                                                    : 16;

        if (digit >= base)
            return at == first ? NULL : at;
        if (__builtin_mul_overflow(*value, base, value) || __builtin_add_overflow(*value, digit, value))
            return NULL;
    }
}

static bool whole_number(const char *text, uint64_t *value)
{
    const char *end = number(text, value);

    return end != NULL && *end == '\0';
}

static bool duration(const char *text, uint64_t *ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    const char *unit = number(text, ns);

    for (size_t i = 0; unit != NULL && i < sizeof units / sizeof units[0]; i++)
        if (strcmp(unit, units[i].name) == 0)
            return !__builtin_mul_overflow(*ns, units[i].ns, ns);
    return false;
}

/* "a, b or c", of what there is. */
static const char *list_names(const struct script_names *names, enum script_when when, char *list,
                              size_t size)
{
    size_t length = 0;

    list[0] = '\0';
    for (size_t i = 0; name_of(names, when, i) != NULL && length < size; i++)
        length += (size_t)snprintf(list + length, size - length, "%s%s", i > 0 ? ", " : "",
                                   name_of(names, when, i)->name);
    return list[0] != '\0' ? list : "none";
}

static const char *list_actions(uint32_t having, char *list, size_t size)
{
    size_t length = 0;

    list[0] = '\0';
    for (unsigned i = 0; i < WHAT_COUNT && length < size; i++)
        if ((having & 1u << i) != 0)
            length +=
                (size_t)snprintf(list + length, size - length, "%s%s", length > 0 ? ", " : "", whats[i].word);
    return list;
}

/* N is the Nth, N-M those, N- all from the Nth on. */
static bool read_numbers(struct line *line, const char *text, struct script_rule *rule)
{
    const char *end = number(text, &rule->first);

    rule->last = rule->first;
    if (end != NULL && *end == '-') {
        rule->last = UINT64_MAX;
        end = end[1] == '\0' ? end + 1 : number(end + 1, &rule->last);
    }
    if (end != NULL && *end == '\0' && rule->first > 0 && rule->last >= rule->first)
        return true;
    return wrong(line, "'%s' is not an occurrence: use N, N-M or N- (for example 3, 3-5, 3-)", text);
}

/* A command by its number: NAME-N. */
static bool read_opcode(const struct script_names *names, const char *text, struct script_rule *rule)
{
    const char *dash = strrchr(text, '-');
    const struct script_name *name;
    uint64_t opcode;

    if (rule->when != WHEN_COMMAND || names->opcodes == 0 || dash == NULL ||
        !whole_number(dash + 1, &opcode) || (opcode & ~names->opcodes) != 0)
        return false;
    for (size_t i = 0; (name = name_of(names, rule->when, i)) != NULL; i++)
        if (strlen(name->name) == (size_t)(dash - text) &&
            strncmp(text, name->name, (size_t)(dash - text)) == 0 && (name->mask & names->opcodes) == 0) {
            rule->which = name->which | opcode;
            rule->mask = name->mask | names->opcodes;
            return true;
        }
    return false;
}

static bool read_which(struct line *line, const struct script_names *names, const char *text,
                       struct script_rule *rule)
{
    const struct script_name *name;
    char list[512];

    for (size_t i = 0; (name = name_of(names, rule->when, i)) != NULL; i++)
        if (strcmp(text, name->name) == 0) {
            rule->which = name->which;
            rule->mask = name->mask;
            return true;
        }
    if (read_opcode(names, text, rule))
        return true;
    rule->mask = UINT64_MAX;
    if ((rule->when == WHEN_READ || rule->when == WHEN_WRITE) && whole_number(text, &rule->which))
        return true;
    return wrong(line, "'%s' is not a %s of %s, which has: %s%s", text, whens[rule->when], names->device,
                 list_names(names, rule->when, list, sizeof list),
                 rule->when == WHEN_COMMAND && names->opcodes != 0 ? "; by opcode: NAME-N, such as admin-0x80"
                                                                   : "");
}

/* The words before the colon. */
static bool read_when(struct line *line, const struct script_names *names, unsigned count,
                      struct script_rule *rule)
{
    for (rule->when = 0; rule->when < WHEN_COUNT; rule->when++)
        if (strcmp(line->words[0], whens[rule->when]) == 0)
            break;
    if (rule->when == WHEN_COUNT)
        return wrong(
            line,
            "'%s' is not an event: use command, completion, read, write, interrupt, message, time or "
            "always",
            line->words[0]);
    if (rule->when == WHEN_ALWAYS)
        return count == 1 || wrong(line, "nothing stands between 'always' and the colon");
    if (count < 2 || count > (rule->when == WHEN_TIME ? 2 : 3))
        return wrong(line,
                     rule->when == WHEN_TIME ? "the time is missing, for example: time 200ms"
                                             : "the occurrence is missing, for example: %s 3",
                     whens[rule->when]);
    if (rule->when == WHEN_TIME) {
        rule->first = rule->last = 1;
        return duration(line->words[1], &rule->which) ||
               wrong(line, "'%s' is not a time: use a number and ns, us, ms or s", line->words[1]);
    }
    return (count == 2 || read_which(line, names, line->words[1], rule)) &&
           read_numbers(line, line->words[count - 1], rule);
}

static bool read_arguments(struct line *line, unsigned at, struct script_rule *rule)
{
    const char *word = whats[rule->what].word;
    unsigned count = line->count - at;
    uint64_t width;

    switch (whats[rule->what].arguments) {
    case NOTHING:
        return count == 0 || wrong(line, "'%s' takes no argument", word);
    case NUMBER:
        return (count == 1 && whole_number(line->words[at], &rule->value)) ||
               wrong(line, "'%s' takes one number, decimal or 0x...", word);
    case DURATION:
        return (count == 1 && duration(line->words[at], &rule->value)) ||
               wrong(line, "'%s' takes a time: a number and ns, us, ms or s", word);
    default:
        if (count != 3 || !whole_number(line->words[at], &rule->offset) ||
            !whole_number(line->words[at + 1], &width) || !whole_number(line->words[at + 2], &rule->value) ||
            (width != 1 && width != 2 && width != 4 && width != 8))
            return wrong(line, "'%s' takes an offset, a width of 1, 2, 4 or 8 bytes, and a number", word);
        rule->width = (unsigned)width;
        return true;
    }
}

/* The word behind 'always:'. */
static bool read_habit(struct line *line, const struct script_names *names, unsigned at,
                       struct script_rule *rule)
{
    char list[256] = "none";
    size_t length = 0;

    rule->what = WHAT_HABIT;
    for (unsigned i = 0; names->habits != NULL && names->habits[i] != NULL && length < sizeof list; i++) {
        rule->value = i;
        if (at + 1 == line->count && strcmp(line->words[at], names->habits[i]) == 0)
            return true;
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", i > 0 ? ", " : "",
                                   names->habits[i]);
    }
    return wrong(line, "'always:' needs one habit of %s: %s", names->device, list);
}

/* The words from the one behind the colon. */
static bool read_what(struct line *line, const struct script_names *names, unsigned at,
                      struct script_rule *rule)
{
    uint32_t having = actions(names, rule->when);
    char list[256];

    if (rule->when == WHEN_ALWAYS)
        return read_habit(line, names, at, rule);
    if (at == line->count)
        return wrong(line, "the action is missing; use one of: %s", list_actions(having, list, sizeof list));
    for (rule->what = 0; rule->what < WHAT_HABIT; rule->what++)
        if (strcmp(line->words[at], whats[rule->what].word) == 0)
            break;
    if (rule->what == WHAT_HABIT || (having & 1u << rule->what) == 0)
        return wrong(line, "'%s' is not an action of %s at '%s'; use one of: %s", line->words[at],
                     names->device, whens[rule->when], list_actions(having, list, sizeof list));
    return read_arguments(line, at + 1, rule);
}

static bool read_rule(struct line *line, const struct script_names *names, struct script *script)
{
    struct script_rule rule = {0};
    unsigned colon = 0;

    while (colon < line->count && strcmp(line->words[colon], ":") != 0)
        colon++;
    if (colon == line->count)
        return wrong(line, "no colon: a rule is WHEN [WHICH] N: WHAT, for example: completion 3: twice");
    if (colon == 0)
        return wrong(line, "the event before the colon is missing, for example: completion 3: twice");
    if (!read_when(line, names, colon, &rule) || !read_what(line, names, colon + 1, &rule))
        return false;
    return script_add(script, &rule) == 0 ||
           wrong(line, "a script has at most %u rules: use two scripts", SCRIPT_RULES);
}

static bool read_devices(struct line *line, const struct script_names *names)
{
    if (strcmp(line->words[0], "for") != 0 || line->count < 2)
        return wrong(line, "the first line must name the models: 'for any', or for example 'for %s'",
                     names->device);
    for (unsigned i = 1; i < line->count; i++)
        if (strcmp(line->words[i], "any") == 0 || strcmp(line->words[i], names->device) == 0)
            return true;
    return wrong(line, "this script is not for %s, but for %s", names->device, line->words[1]);
}

int script_parse(struct script *script, const struct script_names *names, const char *file, const char *text,
                 size_t size, char *error, size_t error_size)
{
    struct line line = {.file = file, .error = error, .error_size = error_size};
    bool good = true, introduced = false;

    memset(script, 0, sizeof *script);
    for (size_t at = 0, length; at < size && good; at += length + 1) {
        const char *end = memchr(text + at, '\n', size - at);

        length = end != NULL ? (size_t)(end - (text + at)) : size - at;
        line.number++;
        good = split(&line, text + at, length);
        if (!good || line.count == 0)
            continue;
        good = introduced ? read_rule(&line, names, script) : read_devices(&line, names);
        introduced = true;
    }
    if (good && script->count == 0)
        good = wrong(&line, "the script has no rule, for example: completion 3: twice");
    return good ? 0 : -EINVAL;
}

int script_add(struct script *script, const struct script_rule *rule)
{
    if (script->count == SCRIPT_RULES)
        return -ENOSPC;
    script->rules[script->count++] = *rule;
    return 0;
}

/* ---- writing ---- */

/* The name of which an opcode is, NULL if the rule is of no opcode. */
static const struct script_name *name_of_opcodes(const struct script_names *names,
                                                 const struct script_rule *rule)
{
    const struct script_name *name;

    for (size_t i = 0;
         rule->when == WHEN_COMMAND && names->opcodes != 0 && (name = name_of(names, rule->when, i)) != NULL;
         i++)
        if (name->which == (rule->which & ~names->opcodes) && (name->mask | names->opcodes) == rule->mask &&
            (name->mask & names->opcodes) == 0)
            return name;
    return NULL;
}

void script_print(const struct script *script, const struct script_names *names, unsigned i, char *line,
                  size_t size)
{
    const struct script_rule *rule = &script->rules[i];
    const struct script_name *name;
    char which[WORD + 24] = "", numbers[48] = "", value[64] = "";
    size_t n = 0;

    if (rule->when == WHEN_ALWAYS) {
        snprintf(line, size, "always: %s", names->habits[rule->value]);
        return;
    }
    while ((name = name_of(names, rule->when, n++)) != NULL)
        if (name->which == rule->which && name->mask == rule->mask)
            break;
    if (rule->when == WHEN_TIME)
        snprintf(numbers, sizeof numbers, " %lluns", (unsigned long long)rule->which);
    else if (name != NULL)
        snprintf(which, sizeof which, " %s", name->name);
    else if ((name = name_of_opcodes(names, rule)) != NULL)
        snprintf(which, sizeof which, " %s-0x%llx", name->name,
                 (unsigned long long)(rule->which & names->opcodes));
    else if (rule->mask != 0)
        snprintf(which, sizeof which, " 0x%llx", (unsigned long long)rule->which);
    if (rule->when != WHEN_TIME && rule->first == rule->last)
        snprintf(numbers, sizeof numbers, " %llu", (unsigned long long)rule->first);
    else if (rule->when != WHEN_TIME && rule->last == UINT64_MAX)
        snprintf(numbers, sizeof numbers, " %llu-", (unsigned long long)rule->first);
    else if (rule->when != WHEN_TIME)
        snprintf(numbers, sizeof numbers, " %llu-%llu", (unsigned long long)rule->first,
                 (unsigned long long)rule->last);
    if (whats[rule->what].arguments == NUMBER)
        snprintf(value, sizeof value, " 0x%llx", (unsigned long long)rule->value);
    else if (whats[rule->what].arguments == DURATION)
        snprintf(value, sizeof value, " %lluns", (unsigned long long)rule->value);
    else if (whats[rule->what].arguments == PLACE)
        snprintf(value, sizeof value, " 0x%llx %u 0x%llx", (unsigned long long)rule->offset, rule->width,
                 (unsigned long long)rule->value);
    snprintf(line, size, "%s%s%s: %s%s", whens[rule->when], which, numbers, whats[rule->what].word, value);
}

/* ---- playing ---- */

void script_rewind(struct script *script)
{
    for (unsigned i = 0; i < script->count; i++)
        script->rules[i].seen = 0;
    script->begun = script->random = 0;
    script->trespassed = false;
    script_replug(script);
}

void script_replug(struct script *script)
{
    script->vanished = script->mute = script->trespass = false;
    script->close = script->truncate = script->shrink = false;
    script->storm = script->reshape = script->detach = 0;
}

/* What the rule does beside the event; false if it says what happens instead of it. */
static bool beside(struct script *script, const struct script_rule *rule)
{
    switch (rule->what) {
    case WHAT_VANISH:
        return script->vanished = true;
    case WHAT_MUTE:
        return script->mute = true;
    case WHAT_STORM:
        script->storm = rule->value;
        return true;
    case WHAT_TRESPASS:
        return script->trespass = true;
    case WHAT_TRUNCATE:
        return script->truncate = true;
    case WHAT_SHRINK:
        return script->shrink = true;
    case WHAT_CLOSE:
        return script->close = true;
    case WHAT_RESHAPE:
        script->reshape = rule->value;
        return true;
    case WHAT_DETACH:
        script->detach = rule->value;
        return true;
    default:
        return false;
    }
}

const struct script_rule *script_event(struct script *script, enum script_when when, uint64_t which)
{
    const struct script_rule *found = NULL;

    for (unsigned i = 0; i < script->count; i++) {
        struct script_rule *rule = &script->rules[i];

        if (rule->when != when || ((rule->which ^ which) & rule->mask) != 0)
            continue;
        rule->seen++;
        if (rule->seen >= rule->first && rule->seen <= rule->last && !beside(script, rule) && found == NULL)
            found = rule;
    }
    return found;
}

bool script_has(const struct script *script, unsigned habit)
{
    for (unsigned i = 0; i < script->count; i++)
        if (script->rules[i].when == WHEN_ALWAYS && script->rules[i].value == habit)
            return true;
    return false;
}

void script_time(struct script *script, uint64_t now)
{
    if (script->begun == 0)
        script->begun = now;
    for (unsigned i = 0; i < script->count; i++) {
        struct script_rule *rule = &script->rules[i];

        if (rule->when == WHEN_TIME && rule->seen == 0 && now - script->begun >= rule->which) {
            rule->seen = 1;
            beside(script, rule);
        }
    }
}

uint64_t script_due(const struct script *script)
{
    uint64_t due = UINT64_MAX;

    for (unsigned i = 0; i < script->count && script->begun != 0; i++) {
        const struct script_rule *rule = &script->rules[i];

        if (rule->when == WHEN_TIME && rule->seen == 0 && rule->which < due - script->begun)
            due = script->begun + rule->which;
    }
    return script->storm != 0 ? 0 : due;
}

/* Numbers without a pattern, the same in every run [Marsaglia, Xorshift RNGs]. */
static uint8_t random_byte(struct script *script)
{
    uint64_t x = script->random != 0 ? script->random : 0x9e3779b97f4a7c15;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    script->random = x;
    return (uint8_t)(x >> 32);
}

size_t script_spoil(struct script *script, const struct script_rule *rule, void *bytes, size_t size)
{
    uint8_t *data = bytes;

    if (rule == NULL)
        return size;
    switch (rule->what) {
    case WHAT_GARBAGE:
        for (size_t i = 0; i < size; i++)
            data[i] = random_byte(script);
        return size;
    case WHAT_FILL:
        memset(data, (int)rule->value, size);
        return size;
    case WHAT_PUT:
        if (rule->width <= size && rule->offset <= size - rule->width)
            memcpy(data + rule->offset, &rule->value, rule->width);
        return size;
    case WHAT_SHORT:
        return rule->value < size ? (size_t)rule->value : size;
    default:
        return size;
    }
}
