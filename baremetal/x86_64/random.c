/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random numbers for keys: the processor's, or none. Some processors say that RDRAND has succeeded and give
 * the same number each time: AMD's family 17h all ones until its microcode is updated, families 15h and 16h
 * after a sleep. A word that is all ones, or nothing, or as the one before it, is 2^-62 likely from a
 * generator that works.
 */
#include "machine.h"
#include "x86.h"

enum { TRIES = 10 }; /* SDM vol. 1 7.3.17.1 */

bool random_draw(uint64_t *value)
{
    bool ok = false;

    for (unsigned i = 0; i < TRIES && !ok; i++)
        __asm__ volatile("rdrand %0; setc %1" : "=r"(*value), "=qm"(ok) : : "cc");
    return ok;
}

bool random_believed(bool (*draw)(uint64_t *), uint64_t *value)
{
    uint64_t before;

    return draw(&before) && draw(value) && *value != before && *value != 0 && *value != UINT64_MAX &&
           before != 0 && before != UINT64_MAX;
}

bool cpu_random(uint64_t *value)
{
    const uint32_t rdrand = 1u << 30;

    return (cpuid(1, 0).c & rdrand) && random_believed(random_draw, value);
}
