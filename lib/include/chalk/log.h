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

/* Writes "chalk: ", the message and a newline to the console. Truncates at 1 KiB. */
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
