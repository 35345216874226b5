/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A node knows the free run that starts where its pages do, the one that ends where they do, and the longest.
 * That is enough to put two neighbours together, and to find the lowest run that is long enough: it is in the
 * lower half, or across the middle, or in the upper half.
 */
#include "heap_runs.h"

#include <string.h>

enum { WORD = 64 };

static size_t word_count(size_t pages)
{
    return (pages + WORD - 1) / WORD;
}

static size_t leaf_count(size_t pages)
{
    size_t leaves = 1;

    while (leaves < word_count(pages))
        leaves *= 2;
    return leaves;
}

size_t heap_runs_books(size_t pages)
{
    return leaf_count(pages) * (sizeof(uint64_t) + 2 * sizeof(struct heap_run));
}

static struct heap_run run_of(uint64_t word)
{
    struct heap_run run = {.longest = 0};

    if (word == UINT64_MAX)
        return (struct heap_run){WORD, WORD, WORD};
    run.first = (uint32_t)__builtin_ctzll(~word);
    run.last = (uint32_t)__builtin_clzll(~word);
    for (; word != 0; word &= word << 1) /* each step takes one bit off every run */
        run.longest++;
    return run;
}

/* Of two neighbours with `size` pages each. */
static struct heap_run join(struct heap_run low, struct heap_run high, size_t size)
{
    uint32_t longest = low.longest > high.longest ? low.longest : high.longest,
             across = low.last + high.first;

    return (struct heap_run){
        .first = low.first == size ? low.first + high.first : low.first,
        .last = high.last == size ? low.last + high.last : high.last,
        .longest = across > longest ? across : longest,
    };
}

/* The words from `first` to `last` have changed. */
static void update(struct heap_runs *runs, size_t first, size_t last)
{
    size_t size = WORD;

    for (size_t i = first; i <= last; i++)
        runs->nodes[runs->leaves + i] = run_of(runs->words[i]);
    first += runs->leaves, last += runs->leaves;
    for (first /= 2, last /= 2; first > 0; first /= 2, last /= 2, size *= 2)
        for (size_t i = first; i <= last; i++)
            runs->nodes[i] = join(runs->nodes[2 * i], runs->nodes[2 * i + 1], size);
}

void heap_runs_start(struct heap_runs *runs, size_t pages, void *books)
{
    memset(books, 0, heap_runs_books(pages));
    runs->leaves = leaf_count(pages);
    runs->words = books;
    runs->nodes = (struct heap_run *)(void *)(runs->words + runs->leaves);
    heap_runs_set(runs, 0, pages, true);
}

size_t heap_runs_longest(const struct heap_runs *runs)
{
    return runs->nodes[1].longest;
}

size_t heap_runs_lowest(const struct heap_runs *runs, size_t count)
{
    size_t node = 1, start = 0, size = runs->leaves * WORD;

    if (count == 0 || count > runs->nodes[1].longest)
        return HEAP_RUNS_NONE;
    while (node < runs->leaves) {
        const struct heap_run *low = &runs->nodes[2 * node], *high = low + 1;

        size /= 2;
        if (low->longest >= count) {
            node = 2 * node;
        } else if (low->last + high->first >= count) {
            return start + size - low->last;
        } else {
            node = 2 * node + 1;
            start += size;
        }
    }
    uint64_t word = runs->words[node - runs->leaves]; /* a bit stays where a run of `count` begins */
    for (size_t i = 1; i < count; i++)
        word &= word >> 1;
    return start + (size_t)__builtin_ctzll(word);
}

size_t heap_runs_set(struct heap_runs *runs, size_t page, size_t count, bool free)
{
    const size_t first = page / WORD, last = (page + count - 1) / WORD;
    size_t changed = 0;

    for (size_t i = first; i <= last; i++) {
        size_t from = i == first ? page % WORD : 0, to = i == last ? (page + count - 1) % WORD : WORD - 1;
        uint64_t mask = UINT64_MAX << from & UINT64_MAX >> (WORD - 1 - to);
        uint64_t differ = (free ? ~runs->words[i] : runs->words[i]) & mask;

        changed += (size_t)__builtin_popcountll(differ);
        runs->words[i] ^= differ;
    }
    update(runs, first, last);
    return changed;
}
