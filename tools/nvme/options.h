/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line of a small program: a table of options, checked while it is read.
 *
 * Every mistake is one line that names the option and what it takes. On bare metal the command line is the
 * kernel's, so the rules are the same in both worlds.
 */
#ifndef TOOLS_NVME_OPTIONS_H
#define TOOLS_NVME_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,    /* value: bool */
    OPTION_NUMBER,  /* value: uint64_t, from min to max; K, M and G stand for powers of 1024 */
    OPTION_SECONDS, /* value: uint64_t nanoseconds, from min to max; read as seconds, such as 2 or 0.5 */
    OPTION_WORD,    /* value: const char *; `choices` lists what is allowed, as "this|that", or is NULL */
};

struct option {
    const char *name; /* without the dashes */
    enum option_kind kind;
    void *value; /* holds the default; untouched when the option is absent */
    uint64_t min, max;
    const char *choices;
    const char *argument; /* what --help calls its argument; not for flags */
    const char *help;
};

struct command {
    const char *name;
    const char *summary; /* what it does, for --help */
    const struct option *options;
    size_t option_count;
    const char *operand; /* what --help calls the one operand; NULL: it takes none */
    const char *operand_help;
    const char *environment; /* the variables it reads, for --help; NULL: those of each chalk_main() */
};

enum exit_status {
    EXIT_GOOD = 0,
    EXIT_BAD = 1,           /* the device, or what was found on it */
    EXIT_USAGE = 2,         /* the command line */
    EXIT_INTERRUPTED = 130, /* the user asked for the end: the status that a shell reports for SIGINT */
};

/*
 * Reads the command line, and answers -h, --help and --version. Returns true if the program shall run;
 * otherwise the message was printed, and *status is the exit status. *operand is NULL if none was given.
 */
bool options_parse(const struct command *command, int argc, char *argv[], const char **operand, int *status);

/* Whether the command line that options_parse() read had the option; each can be there once. */
bool options_given(const struct command *command, const char *name);

/* Reads a number as OPTION_NUMBER does. Returns false if `text`, up to `end`, is not a number. */
bool options_number(const char *text, const char *end, uint64_t *value);

/* Reads seconds as OPTION_SECONDS does: digits, and behind a point up to nine more. Returns false if `text`
 * is something else, or more than 64 bits of nanoseconds. */
bool options_seconds(const char *text, uint64_t *nanoseconds);

/* "1 core", "2 cores": what follows the noun. */
#define PLURAL(number) ((number) == 1 ? "" : "s")

/* Writes "NAME: ", the message and a newline to stderr; NAME is that of the command being run. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
