/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line, read against a table. There is no getopt here: its messages name neither the range nor
 * the cure, and glibc's and musl's differ.
 */
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <chalk/version.h>

static const char *program = "chalk";

/* Which options the command line has, by their index. */
static uint64_t given;

void complain(const char *format, ...)
{
    char line[512];
    va_list list;

    /* One write a message: on bare metal stderr is the console that other cores write to as well. */
    va_start(list, format);
    vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    fprintf(stderr, "%s: %s\n", program, line);
}

bool options_number(const char *text, const char *end, uint64_t *value)
{
    unsigned base = 10;
    unsigned shift = 0;
    uint64_t number = 0;

    if (end - text > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    } else if (end - text > 1) {
        static const char suffixes[] = "KMG";
        const char *suffix = memchr(suffixes, end[-1] & ~0x20, sizeof(suffixes) - 1);

        if (suffix) {
            shift = 10 * (unsigned)(suffix - suffixes + 1);
            end--;
        }
    }
    if (text == end)
        return false;
    for (; text < end; text++) {
        unsigned digit = (unsigned)(*text - '0');

        if (digit > 9)
            digit = (unsigned)((*text & ~0x20) - 'A') + 10u;
        if (digit >= base || (digit > 9 && base == 10) || __builtin_mul_overflow(number, base, &number) ||
            __builtin_add_overflow(number, digit, &number))
            return false;
    }
    return !__builtin_mul_overflow(number, 1ull << shift, value);
}

bool options_seconds(const char *text, uint64_t *nanoseconds)
{
    const uint64_t second = 1000000000;
    const char *point = text + strcspn(text, ".");
    uint64_t whole = 0, fraction = 0;

    if (point == text || strspn(text, "0123456789") != (size_t)(point - text) ||
        !options_number(text, point, &whole) || __builtin_mul_overflow(whole, second, nanoseconds))
        return false;
    if (*point == '\0')
        return true;
    if (point[1] == '\0' || strspn(point + 1, "0123456789") != strlen(point + 1) || strlen(point + 1) > 9)
        return false;
    for (uint64_t place = second / 10; *++point != '\0'; place /= 10)
        fraction += (uint64_t)(*point - '0') * place;
    return !__builtin_add_overflow(*nanoseconds, fraction, nanoseconds);
}

/* Whether `text` is one of "this|that". */
static bool chosen(const char *choices, const char *text)
{
    size_t length = strlen(text);

    while (choices) {
        const char *end = strchr(choices, '|');
        size_t size = end ? (size_t)(end - choices) : strlen(choices);

        if (size == length && memcmp(choices, text, size) == 0)
            return true;
        choices = end ? end + 1 : NULL;
    }
    return false;
}

static bool take_number(const struct option *option, const char *text)
{
    uint64_t number;

    if (!options_number(text, text + strlen(text), &number)) {
        complain("--%s %s: not a whole number; decimal or 0x..., and K, M, G for powers of 1024",
                 option->name, text);
        return false;
    }
    if (number < option->min || number > option->max) {
        complain("--%s %s: must be from %llu to %llu", option->name, text, (unsigned long long)option->min,
                 (unsigned long long)option->max);
        return false;
    }
    *(uint64_t *)option->value = number;
    return true;
}

static bool take_seconds(const struct option *option, const char *text)
{
    uint64_t nanoseconds;

    if (!options_seconds(text, &nanoseconds)) {
        complain("--%s %s: not a number of seconds, such as 2 or 0.5", option->name, text);
        return false;
    }
    if (nanoseconds < option->min || nanoseconds > option->max) {
        complain("--%s %s: must be from %g to %.0f seconds", option->name, text, (double)option->min / 1e9,
                 (double)option->max / 1e9);
        return false;
    }
    *(uint64_t *)option->value = nanoseconds;
    return true;
}

static bool take_word(const struct option *option, const char *text)
{
    if (option->choices && !chosen(option->choices, text)) {
        complain("--%s %s: must be one of %s", option->name, text, option->choices);
        return false;
    }
    if (text[0] == '\0') {
        complain("--%s: its value is empty", option->name);
        return false;
    }
    *(const char **)option->value = text;
    return true;
}

static bool take(const struct option *option, const char *text)
{
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->value = true;
        return true;
    case OPTION_NUMBER:
        return take_number(option, text);
    case OPTION_SECONDS:
        return take_seconds(option, text);
    case OPTION_WORD:
        return take_word(option, text);
    }
    return false;
}

/* What every hosted program reads that is made of chalk_main(). Of these an image has CHALK_LOG only. */
static const char chalk_environment[] =
    "  CHALK_BUS=NAME[,NAME]...     the devices on the bus, such as vfio-user:/tmp/disk; else the machine's\n"
    "  CHALK_CORES=LIST             the processors that become cores, such as 2-5,8\n"
    "  CHALK_PATIENCE=SECONDS       how long the process of such a device may take for an answer; 60 if "
    "absent\n"
    "  CHALK_RECONNECT=SECONDS      how long it may take to come back when it has ended; it is gone at once "
    "if absent\n"
    "  CHALK_UNPINNED=1             leave cores to Linux's scheduler, and not to a processor each\n"
    "  CHALK_LOG=LEVEL              error, warning, info or trace: the least important messages to show\n";

static void print_help(const struct command *command)
{
    const char *environment = command->environment ? command->environment : chalk_environment;

    printf("usage: %s [options]%s%s%s\n%s\n\n", command->name, command->operand ? " [" : "",
           command->operand ? command->operand : "", command->operand ? "]" : "", command->summary);
    for (size_t i = 0; i < command->option_count; i++) {
        const struct option *option = &command->options[i];
        const char *argument = option->argument ? option->argument : option->choices;
        char left[64];

        snprintf(left, sizeof(left), "--%s%s%s", option->name, argument ? " " : "", argument ? argument : "");
        if (strlen(left) > 28)
            printf("  %s\n  %-28s %s\n", left, "", option->help);
        else
            printf("  %-28s %s\n", left, option->help);
    }
    printf("  %-28s %s\n", "-h, --help", "print this text");
    printf("  %-28s %s\n", "--version", "print the version");
    if (command->operand)
        printf("  %-28s %s\n", command->operand, command->operand_help);
    if (environment[0] != '\0')
        printf("\nEnvironment, on Linux:\n%s", environment);
}

static const struct option *find(const struct command *command, const char *name, size_t length)
{
    for (size_t i = 0; i < command->option_count; i++) {
        const struct option *option = &command->options[i];

        if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
            return option;
    }
    return NULL;
}

bool options_given(const struct command *command, const char *name)
{
    const struct option *option = find(command, name, strlen(name));

    return option && given >> (option - command->options) & 1;
}

/* Notes that the command line has the option. Returns false if it had it before: only one value can be meant.
 */
static bool note(const struct command *command, const struct option *option)
{
    uint64_t bit = 1ull << (option - command->options);

    if (given & bit) {
        complain("--%s: give it only once", option->name);
        return false;
    }
    given |= bit;
    return true;
}

bool options_parse(const struct command *command, int argc, char *argv[], const char **operand, int *status)
{
    program = command->name;
    *operand = NULL;
    *status = EXIT_USAGE;
    given = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];

        if (word[0] != '-') {
            if (!command->operand || *operand) {
                complain("%s: one argument too many; --help shows what it takes", word);
                return false;
            }
            *operand = word;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_help(command);
            *status = EXIT_GOOD;
            return false;
        }
        if (strcmp(word, "--version") == 0) {
            printf("%s (Chalk) %s\n", command->name, chalk_version_text());
            *status = EXIT_GOOD;
            return false;
        }
        const char *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        const struct option *option =
            length > 2 && word[1] == '-' ? find(command, word + 2, length - 2) : NULL;

        if (!option) {
            complain("%s: no such option; --help lists them", word);
            return false;
        }
        const char *text = equals ? equals + 1 : NULL;

        if (option->kind == OPTION_FLAG && text) {
            complain("%s: --%s takes no value", word, option->name);
            return false;
        }
        if (option->kind != OPTION_FLAG && !text) {
            if (i + 1 >= argc) {
                complain("--%s: needs a value: %s", option->name,
                         option->choices ? option->choices : option->argument);
                return false;
            }
            text = argv[++i];
        }
        if (!note(command, option) || !take(option, text))
            return false;
    }
    return true;
}
