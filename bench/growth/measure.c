/* SPDX-License-Identifier: BSD-2-Clause */
/* See measure.h. */
#include "measure.h"

#include <chalk/clock.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned total;

void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL)
        exit(1);
    return memory;
}

void expect(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "growth: %s failed\n", what);
    exit(1);
}

static __attribute__((noinline)) void measured(void (*one)(unsigned i), unsigned i)
{
    one(i);
    __asm__ volatile("" ::: "memory"); /* so that it is no tail call */
}

static int compare(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

    return (a > b) - (a < b);
}

static int run(const struct operation *operation)
{
    uint64_t ticks[ROUNDS];

    operation->start();
    for (unsigned i = 0; i < total - ROUNDS; i++)
        operation->one(i);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t start = chalk_ticks();

        measured(operation->one, total - ROUNDS + i);
        ticks[i] = chalk_ticks() - start;
    }
    qsort(ticks, ROUNDS, sizeof ticks[0], compare);
    printf("%llu\n", (unsigned long long)ticks[ROUNDS / 2]);
    return 0;
}

int measure(int argc, char *argv[], const struct operation *operations, size_t count)
{
    total = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 0) + ROUNDS : 0;
    if (total <= ROUNDS || total > 1u << 24) {
        fprintf(stderr, "usage: %s WHAT COUNT\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < count; i++)
        if (strcmp(argv[1], operations[i].name) == 0)
            return run(&operations[i]);
    fprintf(stderr, "growth: there is no %s\n", argv[1]);
    return 2;
}
