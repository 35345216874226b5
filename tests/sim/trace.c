/* SPDX-License-Identifier: BSD-2-Clause */
/* What happened, for whoever has to find out why. */
#include "sim.h"

#include <chalk/dma.h>
#include <chalk/platform.h>
#include <memory/loans.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES = 1024, SHOWN = 60, TEXTS = 64, TEXT = 200 };

static struct line {
    uint64_t time;
    unsigned who;
    const char *format; /* NULL: a line of the console */
    uint64_t a, b, c, d;
} lines[LINES];
static uint64_t count, hash;
static char texts[TEXTS][TEXT];
static uint64_t text_count;
static void (*explain)(void);
static uint64_t name = UINT64_MAX;

bool sim_verbose;

static void show(const struct line *line)
{
    fprintf(stderr, "%12.3f us  ", (double)line->time / 1000);
    if (line->who < SIM_CORES)
        fprintf(stderr, "core %u  ", line->who);
    else
        fputs("device  ", stderr);
    if (line->format == NULL)
        fputs(texts[line->a % TEXTS], stderr);
    else /* each of them is a literal of this folder */
        fprintf(stderr, line->format, (unsigned long long)line->a, (unsigned long long)line->b,
                (unsigned long long)line->c, (unsigned long long)line->d);
    fputc('\n', stderr);
}

static void mix(uint64_t value)
{
    hash = (hash ^ value) * 0x100000001b3; /* FNV-1a, by words */
}

void sim_trace(const char *format, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct line *line = &lines[count++ % LINES];

    *line = (struct line){sim_now(), sim_running(), format, a, b, c, d};
    mix(line->time);
    mix(line->who);
    mix(a);
    mix(b);
    if (sim_verbose)
        show(line);
}

uint64_t sim_trace_hash(void)
{
    return hash;
}

static void show_all(void)
{
    if (explain == NULL)
        return;
    if (!sim_verbose)
        for (uint64_t i = count > SHOWN ? count - SHOWN : 0; i < count; i++)
            show(&lines[i % LINES]);
    fputs("\n", stderr);
    explain();
    explain = NULL;
    if (name != UINT64_MAX)
        fprintf(stderr, "sim: seed %llu fails\n", (unsigned long long)name);
}

void trace_begin(const struct sim_options *options)
{
    count = hash = text_count = 0;
    explain = options->explain;
}

void trace_name(uint64_t seed)
{
    name = seed;
}

_Noreturn void sim_fail(const char *format, ...)
{
    char text[256];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    show_all();
    fprintf(stderr, "sim: %s\n", text);
    fflush(NULL);
    _Exit(1);
}

/* ---- what the sanitizers find ---- */

#if defined(__SANITIZE_ADDRESS__)

void __sanitizer_set_death_callback(void (*callback)(void));

void trace_watch(void)
{
    __sanitizer_set_death_callback(show_all);
}

/* UndefinedBehaviorSanitizer calls this itself. */
void __ubsan_on_report(void);
void __ubsan_on_report(void)
{
    show_all();
}

#else

void trace_watch(void)
{
}

#endif

/* ---- what is logged ---- */

long chalk_console(void *bytes, size_t size, bool write)
{
    char *text = texts[text_count % TEXTS];

    if (!write)
        return 0;
    snprintf(text, TEXT, "| %.*s", (int)size, (char *)bytes);
    text[strcspn(text, "\n")] = '\0';
    sim_trace(NULL, text_count++, 0, 0, 0);
    return (long)size;
}

/* ---- what the library tells of memory that it shares with the device (<chalk/dma.h>) ---- */

void chalk_dma_hook(const volatile void *address, size_t size)
{
    chalk_loan_check("the program", "reads", (const void *)(uintptr_t)address, size, NULL);
    sim_point();
}

void chalk_dma_seen(const volatile void *address, const void *value, size_t size)
{
    (void)address, (void)value, (void)size;
    sim_point();
}

void chalk_dma_publish(const void *address, size_t size)
{
    uint64_t first[2] = {0};

    memcpy(first, address, size < sizeof first ? size : sizeof first);
    sim_trace("publishes %llu bytes: %016llx %016llx", size, first[0], first[1], 0);
    sim_point();
}
