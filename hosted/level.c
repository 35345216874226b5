/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compiled for any x86-64 (meson.build), as nothing else is: it has to run where the rest cannot. So it calls
 * nothing of Chalk's either.
 */
#include "level.h"

#include <cpuid.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

const char *hosted_level_missing(uint32_t features, uint32_t extended)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } needed[] = {{bit_SSE3, "SSE3"},     {bit_SSSE3, "SSSE3"},   {bit_CMPXCHG16B, "CMPXCHG16B"},
                  {bit_SSE4_1, "SSE4.1"}, {bit_SSE4_2, "SSE4.2"}, {bit_POPCNT, "POPCNT"}};

    for (unsigned i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if ((features & needed[i].bit) == 0)
            return needed[i].name;
    return (extended & bit_LAHF_LM) == 0 ? "LAHF" : NULL;
}

static void say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));

    (void)written; /* it ends with a status either way */
}

/* Before the constructors of the program and of its libraries in C++; those of 0-100 are the C library's. */
__attribute__((constructor(101))) static void check(void)
{
    unsigned a, b, features = 0, extended = 0, d;
    const char *missing;

    __get_cpuid(1, &a, &b, &features, &d);
    __get_cpuid(0x80000001, &a, &b, &extended, &d);
    missing = hosted_level_missing(features, extended);
    if (missing == NULL)
        return;
    say("chalk: this processor is below x86-64-v2: it has no ");
    say(missing);
    say("; use a newer one (QEMU: -cpu max)\n");
    _exit(1);
}

void hosted_level_link(void)
{
}
