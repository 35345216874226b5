/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages of a region are free: a bit for each, and a tree over them that finds the lowest run of a given
 * length in a step a level. Whoever calls has the lock.
 */
#ifndef CHALK_BAREMETAL_HEAP_RUNS_H
#define CHALK_BAREMETAL_HEAP_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_run {                  /* of free pages, under one node */
    uint32_t first, last, longest; /* lengths: from the start, up to the end, anywhere */
};

struct heap_runs {
    uint64_t *words;        /* a bit a page, set: free */
    struct heap_run *nodes; /* children of i: 2i and 2i + 1; the words' nodes come last */
    size_t leaves;          /* words, rounded up to a power of two */
};

#define HEAP_RUNS_NONE SIZE_MAX

/* Bytes for the books of `pages` pages, at most 2^32 - 64. */
size_t heap_runs_books(size_t pages);
/* All pages are free. */
void heap_runs_start(struct heap_runs *runs, size_t pages, void *books);
/* Length of the longest run. */
size_t heap_runs_longest(const struct heap_runs *runs);
/* The first page of the lowest run of at least `count` pages, or HEAP_RUNS_NONE. */
size_t heap_runs_lowest(const struct heap_runs *runs, size_t count);
/* Marks pages free or used. Returns how many of them were not before. */
size_t heap_runs_set(struct heap_runs *runs, size_t page, size_t count, bool free);

#endif
