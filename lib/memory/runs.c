/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bit a page says whether it is free. 512 pages are a leaf of a binary tree, and each node says of the
 * pages below it how many are free at either end, and of how many pages the longest run is: for each
 * alignment, counted from the first aligned page of the run on. So the lowest run with room is found by one
 * descent, and a change is told to one node a level.
 *
 * Leaves begin at multiples of 2 MiB, and all page numbers here count from address 0, as alignments do.
 *
 * Most often page after page is got. So what has changed in one leaf is told to its nodes only when another
 * leaf changes or the tree is asked; and while nothing was put, the same is looked for first in the leaf
 * where it was found last, from there on.
 */
#include "runs.h"
#include <string.h>

#define LEAF       512 /* pages */
#define LEAF_WORDS (LEAF / 64)
#define LEVELS_MAX 32

typedef struct chalk_pages_run run_node;

static const run_node nothing; /* in place of a node behind the last one */

static const uint32_t align_masks[CHALK_PAGES_ALIGNS] = {0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 2047};

/* The number of the first page of the first leaf. */
static size_t origin(const struct chalk_pages *pages)
{
    return (uintptr_t)pages->base / CHALK_PAGE & ~(size_t)(LEAF - 1);
}

/* The number in the leaves, which begin at the origin, of a page of the region. */
static size_t leaf_page(const struct chalk_pages *pages, size_t page)
{
    return ((uintptr_t)pages->base / CHALK_PAGE & (LEAF - 1)) + page;
}

static size_t leaf_count(const struct chalk_pages *pages)
{
    return (leaf_page(pages, pages->count) + LEAF - 1) / LEAF;
}

/* ---- set-up ---- */

size_t chalk_runs_books(size_t count)
{
    size_t leaves = count / LEAF + 2; /* wherever the region begins */
    size_t nodes = leaves;

    for (size_t level = leaves; level > 1; nodes += level)
        level = (level + 1) / 2;
    return leaves * LEAF_WORDS * sizeof(uint64_t) + nodes * sizeof(run_node);
}

void chalk_runs_start(struct chalk_pages *pages, void *books)
{
    pages->bits = books;
    pages->runs = (run_node *)(void *)(pages->bits + (pages->count / LEAF + 2) * LEAF_WORDS);
    pages->changed_leaf = SIZE_MAX;
    pages->found_count = SIZE_MAX;
}

/* ---- what a node says ---- */

/* Adds a run to what is the longest of each alignment. */
static void add_run(run_node *node, uint32_t first, uint32_t length)
{
    for (unsigned i = 0; i < CHALK_PAGES_ALIGNS; i++) {
        uint32_t pad = -first & align_masks[i], rest = length > pad ? length - pad : 0;

        node->longest[i] = node->longest[i] > rest ? node->longest[i] : rest;
    }
}

/*
 * Adds the runs that lie in one word and are shorter than it. All of an alignment at once: starts[k] has the
 * pages that begin 2^k free ones, and the longest run comes from these as a number does from its digits.
 */
static void add_word(run_node *node, uint64_t word)
{
    static const uint64_t every[] = {UINT64_MAX,
                                     0x5555555555555555,
                                     0x1111111111111111,
                                     0x0101010101010101,
                                     0x0001000100010001,
                                     0x0000000100000001,
                                     1};
    uint64_t starts[6];
    unsigned digits = 0;

    for (uint64_t pages = word; pages && digits < 6; pages &= pages >> (1u << digits), digits++)
        starts[digits] = pages;
    for (unsigned i = 0; i < sizeof every / sizeof every[0]; i++) {
        uint64_t left = every[i];
        uint32_t length = 0;

        for (unsigned digit = digits; digit-- > 0;)
            if (left & starts[digit] >> length) {
                left &= starts[digit] >> length;
                length += 1u << digit;
            }
        if (length == 0)
            return;
        node->longest[i] = node->longest[i] > length ? node->longest[i] : length;
    }
}

static void sum_leaf(struct chalk_pages *pages, size_t leaf)
{
    const uint64_t *words = pages->bits + leaf * LEAF_WORDS;
    run_node *node = &pages->runs[leaf];
    uint32_t number = (uint32_t)(origin(pages) + leaf * LEAF);
    uint32_t open = 0; /* free pages that end where the word begins */

    *node = nothing;
    for (unsigned i = 0; i < LEAF_WORDS; i++, number += 64) {
        uint64_t taken = ~words[i];

        if (taken == 0) {
            open += 64;
            continue;
        }
        if (words[i] == 0 && open == 0)
            continue;
        unsigned low = (unsigned)__builtin_ctzll(taken), high = (unsigned)__builtin_clzll(taken);
        if (open == 64 * i)
            node->prefix = open + low;
        if (open + low > 0)
            add_run(node, number - open, open + low);
        add_word(node, words[i] >> low << low << high >> high);
        open = high;
    }
    node->suffix = open;
    if (open == LEAF)
        node->prefix = open;
    if (open > 0)
        add_run(node, number - open, open);
}

/* A run that reaches from one node into the next: how many pages from the first aligned one on. `*pad` is
 * how many come before that. */
static uint32_t across(const run_node *low, const run_node *high, uint32_t border, uint32_t mask,
                       uint32_t *pad)
{
    *pad = (low->suffix - border) & mask;
    return low->suffix > *pad ? low->suffix - *pad + high->prefix : 0;
}

/*
 * `size`: pages of either child; `border`: the number of the first page of the higher one. The loop has no
 * branch, so that the compiler works on four alignments at once.
 */
static void sum_node(run_node *restrict node, const run_node *restrict low, const run_node *restrict high,
                     uint32_t size, uint32_t border)
{
    const uint32_t suffix = low->suffix, prefix = high->prefix;

    node->prefix = low->prefix == size ? size + prefix : low->prefix;
    node->suffix = high->suffix == size ? size + suffix : high->suffix;
    for (unsigned i = 0; i < CHALK_PAGES_ALIGNS; i++) {
        uint32_t pad = (suffix - border) & align_masks[i];
        uint32_t both = (suffix - pad + prefix) & -(uint32_t)(suffix > pad); /* as across() */
        uint32_t one = low->longest[i] > high->longest[i] ? low->longest[i] : high->longest[i];

        node->longest[i] = both > one ? both : one;
    }
}

/* The children of node `i` of the level above these `count` nodes. */
static const run_node *child(const run_node *level, size_t count, size_t i)
{
    return i < count ? &level[i] : &nothing;
}

static void set_bits(uint64_t *bits, size_t first, size_t end, bool free)
{
    for (size_t next; first < end; first = next) {
        next = (first / 64 + 1) * 64 < end ? (first / 64 + 1) * 64 : end;
        uint64_t mask = UINT64_MAX << first % 64 & UINT64_MAX >> (63 - (next - 1) % 64);

        bits[first / 64] = free ? bits[first / 64] | mask : bits[first / 64] & ~mask;
    }
}

static bool is_same(const run_node *one, const run_node *other)
{
    return memcmp(one, other, sizeof *one) == 0;
}

/* Brings the nodes of these leaves, and those above them, up to date: as far up as something changes. */
static void update(struct chalk_pages *pages, size_t first, size_t last)
{
    run_node *level = pages->runs, before = level[first];
    uint32_t size = LEAF;

    for (size_t leaf = first; leaf <= last; leaf++)
        sum_leaf(pages, leaf);
    for (size_t nodes = leaf_count(pages); nodes > 1; nodes = (nodes + 1) / 2, size *= 2) {
        run_node *above = level + nodes;

        if (first == last && is_same(&before, &level[first]))
            return;
        first /= 2;
        last /= 2;
        before = above[first];
        for (size_t i = first; i <= last; i++)
            sum_node(&above[i], &level[2 * i], child(level, nodes, 2 * i + 1), size,
                     (uint32_t)origin(pages) + (uint32_t)(2 * i + 1) * size);
        level = above;
    }
}

static void update_changed(struct chalk_pages *pages)
{
    if (pages->changed_leaf != SIZE_MAX)
        update(pages, pages->changed_leaf, pages->changed_leaf);
    pages->changed_leaf = SIZE_MAX;
}

void chalk_runs_set(struct chalk_pages *pages, size_t page, size_t count, bool free)
{
    const size_t first = leaf_page(pages, page), last = (first + count - 1) / LEAF;

    set_bits(pages->bits, first, first + count, free);
    if (free)
        pages->found_count = SIZE_MAX;
    if (first / LEAF != pages->changed_leaf || last != pages->changed_leaf)
        update_changed(pages);
    if (first / LEAF == last)
        pages->changed_leaf = last;
    else
        update(pages, first / LEAF, last);
}

/* ---- looking ---- */

/* The first page from `from` on that is free, or is not, of a leaf; LEAF if there is none. */
static unsigned next_page(const uint64_t *words, unsigned from, bool free)
{
    while (from < LEAF) {
        uint64_t word = (free ? words[from / 64] : ~words[from / 64]) >> from % 64;

        if (word)
            return from + (unsigned)__builtin_ctzll(word);
        from = (from / 64 + 1) * 64;
    }
    return LEAF;
}

/* The lowest such run of a leaf, in pages from `first` on; LEAF if there is none. */
static unsigned lowest_in_leaf(const uint64_t *words, unsigned first, uint32_t number, uint32_t count,
                               uint32_t mask)
{
    for (unsigned end; (first = next_page(words, first, true)) < LEAF; first = end) {
        uint32_t pad = -(number + first) & mask;

        end = next_page(words, first, false);
        if (end >= first + pad + count)
            return first + pad;
    }
    return LEAF;
}

/* The next one in the leaf of the last one, where nothing that is lower can be; SIZE_MAX if it is not there.
 */
static size_t lowest_after(const struct chalk_pages *pages, size_t count, size_t align, uint32_t mask)
{
    const size_t first = leaf_page(pages, pages->found_end), leaf = first / LEAF;
    unsigned page;

    if (count < pages->found_count || count > LEAF || align < pages->found_align || leaf >= leaf_count(pages))
        return SIZE_MAX;
    page = lowest_in_leaf(pages->bits + leaf * LEAF_WORDS, first % LEAF,
                          (uint32_t)(origin(pages) + leaf * LEAF), (uint32_t)count, mask);
    return page < LEAF ? leaf * LEAF + page - leaf_page(pages, 0) : SIZE_MAX;
}

/* One multiple of `align`, which is one of whole leaves, after the other. */
static size_t lowest_far(const struct chalk_pages *pages, size_t count, size_t align)
{
    const size_t step = align / CHALK_PAGE / LEAF, leaves = leaf_count(pages);

    for (size_t leaf = -(origin(pages) / LEAF) & (step - 1); leaf < leaves; leaf += step) {
        size_t left = count, i = leaf;

        while (i < leaves && left > LEAF && pages->runs[i].prefix == LEAF)
            i++, left -= LEAF;
        if (i < leaves && pages->runs[i].prefix >= left)
            return leaf * LEAF - leaf_page(pages, 0);
    }
    return SIZE_MAX;
}

static size_t lowest_in_tree(const struct chalk_pages *pages, size_t count, unsigned class)
{
    const run_node *levels[LEVELS_MAX];
    size_t nodes[LEVELS_MAX], i = 0;
    unsigned level = 0;

    levels[0] = pages->runs;
    nodes[0] = leaf_count(pages);
    for (; nodes[level] > 1; level++) {
        levels[level + 1] = levels[level] + nodes[level];
        nodes[level + 1] = (nodes[level] + 1) / 2;
    }
    if (levels[level]->longest[class] < count)
        return SIZE_MAX;
    for (; level > 0; level--) {
        const run_node *low = &levels[level - 1][2 * i], *high;
        size_t border = (2 * i + 1) * LEAF << (level - 1);
        uint32_t pad;

        i *= 2;
        if (low->longest[class] >= count)
            continue;
        high = child(levels[level - 1], nodes[level - 1], i + 1);
        if (across(low, high, (uint32_t)(origin(pages) + border), align_masks[class], &pad) >= count)
            return border - low->suffix + pad - leaf_page(pages, 0);
        i++;
    }
    return i * LEAF - leaf_page(pages, 0) +
           lowest_in_leaf(pages->bits + i * LEAF_WORDS, 0, (uint32_t)(origin(pages) + i * LEAF),
                          (uint32_t)count, align_masks[class]);
}

size_t chalk_runs_lowest(struct chalk_pages *pages, size_t count, size_t align)
{
    const unsigned class = (unsigned)__builtin_ctzll(align / CHALK_PAGE);
    size_t page = SIZE_MAX;

    if (class < CHALK_PAGES_ALIGNS)
        page = lowest_after(pages, count, align, align_masks[class]);
    if (page == SIZE_MAX) {
        update_changed(pages);
        page = class < CHALK_PAGES_ALIGNS ? lowest_in_tree(pages, count, class)
                                          : lowest_far(pages, count, align);
    }
    if (page != SIZE_MAX) {
        pages->found_count = count;
        pages->found_align = align;
        pages->found_end = page + count;
    }
    return page;
}
