/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The region is a row of blocks, free or taken, each at a multiple of its size (Knuth, TAOCP vol. 1, 2.5,
 * "buddy system"). A byte a page says what starts there: nothing, a free block, or a block of an allocation,
 * which is a row of blocks itself. So a mistake is found in every put, without looking at what was handed
 * out.
 *
 * The free blocks of each size are bits in a set, which finds the lowest in a step a level. A block that is
 * asked for comes from the smallest that has room, and of those from the lowest, so that large ones stay
 * whole. Where the lowest pages are asked for, wherever blocks end, runs.c knows them.
 *
 * Blocks are numbered by address, not from the start of the region, which may begin anywhere.
 */
#include "claims.h"
#include "loans.h"
#include "runs.h"
#include <chalk/error.h>
#include <chalk/pages.h>
#include <string.h>

#define FREE  0x80 /* a free block starts here */
#define TAKEN 0x40 /* the first block of an allocation does */
#define MORE  0x20 /* a further block of the allocation before it does */
#define ORDER 0x1f

#define NONE SIZE_MAX

_Static_assert(offsetof(struct chalk_pages, claim) == 0, "the claim is written before the rest");
_Static_assert(CHALK_PAGES_ORDERS <= ORDER, "an order fits its bits");

/* ---- sets of free blocks ---- */

static size_t words(size_t bits)
{
    return (bits + 63) / 64;
}

/* Blocks of that size that a region of `count` pages can touch, wherever it begins. */
static size_t block_count(size_t count, unsigned order)
{
    return (count >> order) + 2;
}

static void set_add(struct chalk_pages_set *set, size_t block)
{
    for (unsigned l = 0; l < set->levels; l++, block /= 64) {
        uint64_t old = set->level[l][block / 64];

        set->level[l][block / 64] = old | 1ull << block % 64;
        if (old)
            return;
    }
}

static void set_remove(struct chalk_pages_set *set, size_t block)
{
    for (unsigned l = 0; l < set->levels; l++, block /= 64) {
        set->level[l][block / 64] &= ~(1ull << block % 64);
        if (set->level[l][block / 64])
            return;
    }
}

static size_t set_lowest(const struct chalk_pages_set *set)
{
    size_t block = 0;

    if (!set->level[set->levels - 1][0])
        return NONE;
    for (unsigned l = set->levels; l-- > 0;)
        block = block * 64 + (size_t)__builtin_ctzll(set->level[l][block]);
    return block;
}

/* ---- pages and blocks ---- */

/* The number of page `page` of the region, counted from address 0. */
static size_t number(const struct chalk_pages *pages, size_t page)
{
    return (uintptr_t)pages->base / CHALK_PAGE + page;
}

static size_t block_of(const struct chalk_pages *pages, size_t page, unsigned order)
{
    return (number(pages, page) >> order) - (number(pages, 0) >> order);
}

static size_t page_of(const struct chalk_pages *pages, size_t block, unsigned order)
{
    return (((number(pages, 0) >> order) + block) << order) - number(pages, 0);
}

static unsigned order_of(const struct chalk_pages *pages, size_t page)
{
    return pages->heads[page] & ORDER;
}

static size_t after(const struct chalk_pages *pages, size_t page)
{
    return page + ((size_t)1 << order_of(pages, page));
}

static void block_free(struct chalk_pages *pages, size_t page, unsigned order)
{
    pages->heads[page] = (uint8_t)(FREE | order);
    set_add(&pages->free[order], block_of(pages, page, order));
}

static void block_unfree(struct chalk_pages *pages, size_t page)
{
    unsigned order = order_of(pages, page);

    set_remove(&pages->free[order], block_of(pages, page, order));
    pages->heads[page] = 0;
}

/* The largest block that starts at `page` and ends by `end`. */
static unsigned largest(const struct chalk_pages *pages, size_t page, size_t end)
{
    unsigned fits = 63 - (unsigned)__builtin_clzll(end - page);
    unsigned aligned = (unsigned)__builtin_ctzll(number(pages, page) | 1ull << (CHALK_PAGES_ORDERS - 1));

    return fits < aligned ? fits : aligned;
}

/* ---- set-up ---- */

static size_t heads_size(size_t count)
{
    return (count + 7) & ~(size_t)7;
}

size_t chalk_pages_books(size_t count)
{
    size_t size = heads_size(count) + chalk_runs_books(count);

    for (unsigned order = 0; order < CHALK_PAGES_ORDERS; order++)
        for (size_t bits = block_count(count, order); bits; bits = bits > 64 ? words(bits) : 0)
            size += words(bits) * sizeof(uint64_t);
    return size;
}

static void lay_free(struct chalk_pages *pages, size_t page, size_t end)
{
    for (unsigned order; page < end; page += (size_t)1 << order) {
        order = largest(pages, page, end);
        block_free(pages, page, order);
    }
}

void chalk_pages_start(struct chalk_pages *pages, const char *owner, void *base, size_t count, void *books)
{
    uint64_t *next = (uint64_t *)(void *)((char *)books + heads_size(count));

    chalk_assert(count > 0 && count <= UINT32_MAX);
    memset(books, 0, chalk_pages_books(count));
    memset(pages->free, 0, sizeof pages->free);
    pages->owner = owner;
    pages->base = base;
    pages->count = count;
    pages->used = 0;
    pages->node = 0;
    pages->heads = books;
    for (unsigned order = 0; order < CHALK_PAGES_ORDERS; order++) {
        struct chalk_pages_set *set = &pages->free[order];

        for (size_t bits = block_count(count, order); bits; bits = bits > 64 ? words(bits) : 0) {
            set->level[set->levels++] = next;
            next += words(bits);
        }
    }
    chalk_runs_start(pages, next);
    chalk_runs_set(pages, 0, count, true);
    lay_free(pages, 0, count);
}

int chalk_pages_create(unsigned i, const char *owner, struct chalk_pages **pages)
{
    struct chalk_claim *claim;
    int error = chalk_claim_span_inside(i, owner, &claim);

    if (error)
        return error;
    struct chalk_pages *new = (struct chalk_pages *)(void *)claim;
    size_t count = claim->size / CHALK_PAGE < UINT32_MAX ? claim->size / CHALK_PAGE : UINT32_MAX;
    size_t head_count = (sizeof *new + chalk_pages_books(count) + CHALK_PAGE - 1) / CHALK_PAGE;
    if (count <= head_count) {
        chalk_claim_release(claim);
        return -ENOSPC;
    }
    chalk_pages_start(new, claim->owner, claim->va + head_count * CHALK_PAGE, count - head_count, new + 1);
    new->node = claim->node;
    *pages = new;
    return 0;
}

void chalk_pages_destroy(struct chalk_pages *pages)
{
    chalk_claim_release(&pages->claim);
}

/* ---- get ---- */

/* The first page of the smallest free block of at least that size, or NONE. */
static size_t find_block(const struct chalk_pages *pages, unsigned order)
{
    for (; order < CHALK_PAGES_ORDERS; order++) {
        size_t block = set_lowest(&pages->free[order]);

        if (block != NONE)
            return page_of(pages, block, order);
    }
    return NONE;
}

/* The free block that a free page is in. */
static size_t block_at(const struct chalk_pages *pages, size_t page)
{
    size_t start = page;

    for (unsigned order = 0; pages->heads[start] != (FREE | order); order++)
        start -= number(pages, start) & (size_t)1 << order;
    return start;
}

/* Takes [first, first + count) out of the free blocks. */
static void carve(struct chalk_pages *pages, size_t first, size_t count)
{
    const size_t end = first + count, row = block_at(pages, first);
    size_t page = row;
    unsigned state = TAKEN;

    chalk_runs_set(pages, first, count, false);
    while (page < end) {
        size_t next = after(pages, page);

        block_unfree(pages, page);
        page = next;
    }
    lay_free(pages, row, first);
    lay_free(pages, end, page);
    for (unsigned order; first < end; first += (size_t)1 << order, state = MORE) {
        order = largest(pages, first, end);
        pages->heads[first] = (uint8_t)(state | order);
    }
    pages->used += count;
}

static unsigned order_for(size_t count)
{
    return count > 1 ? 64 - (unsigned)__builtin_clzll(count - 1) : 0;
}

void *chalk_pages_get(struct chalk_pages *pages, size_t count, size_t align)
{
    size_t first;

    if (count == 0 || count > pages->count - pages->used)
        return NULL;
    first = find_block(pages, order_for(count > align / CHALK_PAGE ? count : align / CHALK_PAGE));
    if (first == NONE)
        return chalk_pages_get_lowest(pages, count, align);
    carve(pages, first, count);
    return pages->base + first * CHALK_PAGE;
}

void *chalk_pages_get_lowest(struct chalk_pages *pages, size_t count, size_t align)
{
    size_t first;

    if (count == 0 || count > pages->count - pages->used)
        return NULL;
    first = chalk_runs_lowest(pages, count, align);
    if (first == NONE)
        return NULL;
    carve(pages, first, count);
    return pages->base + first * CHALK_PAGE;
}

/* ---- put ---- */

static void merge(struct chalk_pages *pages, size_t page, unsigned order)
{
    for (; order + 1 < CHALK_PAGES_ORDERS; order++) {
        bool upper = number(pages, page) >> order & 1;
        size_t buddy = upper ? page - ((size_t)1 << order) : page + ((size_t)1 << order);

        /* Below the region the number wraps around, and so is beyond it as well. */
        if (buddy >= pages->count || pages->heads[buddy] != (FREE | order))
            break;
        block_unfree(pages, buddy);
        page = upper ? buddy : page;
    }
    block_free(pages, page, order);
}

/* What is wrong with giving back these pages, or NULL. */
static const char *mistake(const struct chalk_pages *pages, uintptr_t offset, size_t count)
{
    size_t page = offset / CHALK_PAGE, end = page + count;

    if (offset % CHALK_PAGE != 0 || page >= pages->count)
        return "which it never got";
    if (pages->heads[page] & FREE)
        return "which it gave back already";
    if (!(pages->heads[page] & TAKEN))
        return "which is in the middle of what it got, or of what it gave back";
    if (count == 0 || count > pages->count - page)
        return "which is not the size that it got";
    do
        page = after(pages, page);
    while (page < end && (pages->heads[page] & MORE));
    if (page != end || (page < pages->count && (pages->heads[page] & MORE)))
        return "which is not the size that it got";
    return NULL;
}

void chalk_pages_put(struct chalk_pages *pages, void *address, size_t count)
{
    uintptr_t offset = (uintptr_t)address - (uintptr_t)pages->base;
    size_t page = offset / CHALK_PAGE, end = page + count;
    const char *why = mistake(pages, offset, count);

    if (why)
        chalk_claim_blame(pages->owner, "gives back", address, count * CHALK_PAGE, why);
    chalk_loan_check(pages->owner, "gives back", address, count * CHALK_PAGE, NULL);
    chalk_runs_set(pages, page, count, true);
    while (page < end) {
        unsigned order = order_of(pages, page);

        pages->heads[page] = 0;
        merge(pages, page, order);
        page += (size_t)1 << order;
    }
    pages->used -= count;
}
