/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages for people. One message is one or two lines that say what failed, on which device, and the
 * command that mends it. Not for hot paths. The portable archive has no printf: chalk_format() is enough.
 */
#ifndef CHALK_LOG_H
#define CHALK_LOG_H

#include <stdarg.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chalk_level { CHALK_ERROR, CHALK_WARNING, CHALK_INFO, CHALK_TRACE };

/* Messages above this level are dropped; CHALK_WARNING at the start. */
void chalk_log_level(enum chalk_level level);

/*
 * The same for a level that a person names: "error", "warning", "info" or "trace". Whoever runs a program
 * does so in the environment variable CHALK_LOG, which the platform looks at when it starts; what the program
 * asks for afterwards counts. Errors: -EINVAL (it is none of these; logged).
 */
int chalk_log_level_named(const char *name);

/*
 * Where messages go instead of the console. `text` is one message without prefix and newline, of `size`
 * characters (at most 1016) and terminated; it may have several lines. It may be called on any core, on
 * several at once, with locks of Chalk's held and, hosted, in a signal handler: it calls nothing of Chalk
 * that may log.
 */
struct chalk_log_sink {
    void (*write)(struct chalk_log_sink *sink, enum chalk_level level, const char *text, size_t size);
};

/* From now on messages go to `sink`, which stays where it is until another one is set. NULL: to the console.
 */
void chalk_log_to(struct chalk_log_sink *sink);

/* Logs one message. On the console it stands between "chalk: " and a newline. Truncates at 1016 characters.
 */
void chalk_log(enum chalk_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Like snprintf (the result is the length it wanted), with %s %c %d %i %u %x %X %p %% and flags 0 - #, width,
 * precision, h hh l ll z j. Anything else is copied as it stands.
 */
int chalk_format(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
int chalk_format_list(char *buffer, size_t size, const char *format, va_list list)
    __attribute__((format(printf, 3, 0)));

#ifdef __cplusplus
}
#endif
#endif
