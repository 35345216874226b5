/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages go to the console in one write each, so that those of several cores do not mix; or to the
 * program's sink.
 */
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/platform.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic(enum chalk_level) highest = CHALK_WARNING;
static _Atomic(struct chalk_log_sink *) target; /* NULL: the console */

void chalk_log_level(enum chalk_level level)
{
    highest = level;
}

int chalk_log_level_named(const char *name)
{
    static const char names[][8] = {"error", "warning", "info", "trace"}; /* as enum chalk_level */
    size_t size = strlen(name) + 1;

    for (unsigned level = 0; level < sizeof names / sizeof names[0]; level++)
        if (size <= sizeof names[0] && memcmp(name, names[level], size) == 0) {
            chalk_log_level((enum chalk_level)level);
            return 0;
        }
    chalk_log(CHALK_WARNING, "'%s' is not a level of messages: use error, warning, info or trace", name);
    return -EINVAL;
}

void chalk_log_to(struct chalk_log_sink *sink)
{
    atomic_store_explicit(&target, sink, memory_order_release);
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
    struct chalk_log_sink *sink = atomic_load_explicit(&target, memory_order_acquire);
    va_list list;

    if (level > highest)
        return;
    memcpy(line, prefix, size);
    va_start(list, format);
    size_t wanted = (size_t)chalk_format_list(line + size, room + 1, format, list);
    va_end(list);
    if (wanted > room)
        wanted = room;
    if (sink != NULL) {
        sink->write(sink, level, line + size, wanted);
        return;
    }
    size += wanted;
    line[size++] = '\n';
    write_all(line, size);
}
