/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages go to the console in one write each, so that those of several cores do not mix.
 */
#include <chalk/log.h>
#include <chalk/platform.h>
#include <string.h>

static _Atomic(enum chalk_level) highest = CHALK_WARNING;

void chalk_log_level(enum chalk_level level)
{
    highest = level;
}

/* A console may take less than it was given: the rest follows, unless it takes nothing at all. */
static void write_all(char *text, size_t size)
{
    while (size) {
        long written = chalk_console(text, size, true);
        if (written <= 0 || (size_t)written > size)
            return;
        text += written;
        size -= (size_t)written;
    }
}

void chalk_log(enum chalk_level level, const char *format, ...)
{
    static const char prefix[] = "chalk: ";
    char line[1024];
    size_t size = sizeof prefix - 1;
    const size_t room = sizeof line - size - 1; /* the newline takes the place of the terminator */
    va_list list;

    if (level > highest)
        return;
    memcpy(line, prefix, size);
    va_start(list, format);
    size_t wanted = (size_t)chalk_format_list(line + size, room + 1, format, list);
    va_end(list);
    size += wanted < room ? wanted : room;
    line[size++] = '\n';
    write_all(line, size);
}
