/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two bits a page. The second one marks where each allocation ends, so that giving back too much, too little,
 * or the same thing twice is found at once.
 */
#include "pages.h"
#include <chalk/error.h>
#include <chalk/memory.h>
#include <stdbool.h>
#include <string.h>

static size_t words(size_t count)
{
    return (count + 63) / 64;
}

static bool bit(const uint64_t *map, size_t i)
{
    return map[i / 64] >> i % 64 & 1;
}

static void set_bit(uint64_t *map, size_t i, bool value)
{
    if (value)
        map[i / 64] |= 1ull << i % 64;
    else
        map[i / 64] &= ~(1ull << i % 64);
}

size_t chalk_pages_books(size_t count)
{
    return 2 * words(count) * sizeof(uint64_t);
}

void chalk_pages_start(struct chalk_pages *pages, void *base, size_t count, void *books)
{
    memset(books, 0, chalk_pages_books(count));
    pages->base = base;
    pages->count = count;
    pages->used = 0;
    pages->taken = books;
    pages->last = pages->taken + words(count);
}

/* The first page from `page` on whose address is a multiple of `align`. */
static size_t aligned_page(const struct chalk_pages *pages, size_t page, size_t align)
{
    uintptr_t address = (uintptr_t)pages->base + page * CHALK_PAGE;
    uintptr_t gap = -address & (align - 1);

    return page + gap / CHALK_PAGE;
}

void *chalk_pages_get(struct chalk_pages *pages, size_t count, size_t align)
{
    if (count == 0 || count > pages->count - pages->used)
        return NULL;
    size_t first = aligned_page(pages, 0, align);
    while (first < pages->count && count <= pages->count - first) {
        /* Looking from the end: whatever is in the way, the search goes on behind it. */
        size_t i = first + count;
        while (i > first && !bit(pages->taken, i - 1))
            i--;
        if (i > first) {
            first = aligned_page(pages, i, align);
            continue;
        }
        for (i = 0; i < count; i++)
            set_bit(pages->taken, first + i, true);
        set_bit(pages->last, first + count - 1, true);
        pages->used += count;
        return pages->base + first * CHALK_PAGE;
    }
    return NULL;
}

void chalk_pages_put(struct chalk_pages *pages, void *address, size_t count)
{
    uintptr_t offset = (uintptr_t)address - (uintptr_t)pages->base;
    size_t first = offset / CHALK_PAGE;

    chalk_assert(offset % CHALK_PAGE == 0);
    chalk_assert(count > 0 && first < pages->count && count <= pages->count - first);
    chalk_assert(first == 0 || !bit(pages->taken, first - 1) || bit(pages->last, first - 1));
    for (size_t i = first; i < first + count; i++) {
        chalk_assert(bit(pages->taken, i)); /* else it was given back already */
        chalk_assert(bit(pages->last, i) == (i == first + count - 1));
    }
    for (size_t i = first; i < first + count; i++)
        set_bit(pages->taken, i, false);
    set_bit(pages->last, first + count - 1, false);
    pages->used -= count;
}
