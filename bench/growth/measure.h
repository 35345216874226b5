/* SPDX-License-Identifier: BSD-2-Clause */
/*
 *     NAME WHAT COUNT
 *
 * Makes COUNT of what WHAT names, and then a few more, one at a time: prints the median ticks of one. They
 * are made and measured in the same way, so that what COUNT changes is only how many there are. callgrind
 * counts the instructions of measured().
 */
#ifndef BENCH_GROWTH_MEASURE_H
#define BENCH_GROWTH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>

#define ROUNDS 64 /* that are measured */

struct operation {
    const char *name;
    void (*start)(void);     /* what is there before the first one */
    void (*one)(unsigned i); /* is called for 0 to total - 1; the last ROUNDS calls are measured */
};

extern unsigned total; /* objects there will be, those that are measured included */

/* Zeroed memory. It ends the program if there is none. */
void *zeroed(size_t count, size_t size);

/* Ends the program with a message, unless `condition` holds. */
void expect(bool condition, const char *what);

/* What main() does. */
int measure(int argc, char *argv[], const struct operation *operations, size_t count);

#endif
