/* SPDX-License-Identifier: BSD-2-Clause */
/* See book.h. Each entry begins with its range, so that one is found by the other. */
#include "book.h"

#include <errno.h>
#include <stdlib.h>

static struct chalk_range *first_of(const struct chalk_ranges *ranges)
{
    return chalk_range_find(ranges, 0, UINT64_MAX);
}

static void *next_entry(const struct chalk_ranges *ranges, const void *previous)
{
    return previous != NULL ? chalk_range_next(ranges, previous) : first_of(ranges);
}

static void remove_entry(struct chalk_ranges *ranges, struct chalk_range *range)
{
    chalk_range_remove(ranges, range);
    free(range);
}

/* ---- memory ---- */

int book_add_map(struct book *book, const struct vfio_user_dma_map *map, int fd)
{
    struct book_map *entry = malloc(sizeof *entry);

    if (entry == NULL)
        return -ENOMEM;
    *entry = (struct book_map){
        .range = {.first = map->address, .last = map->address + (map->size - 1)}, .map = *map, .fd = fd};
    if (chalk_range_add(&book->maps, &entry->range))
        return 0;
    free(entry);
    return -EEXIST;
}

void book_remove_map(struct book *book, uint64_t address)
{
    struct chalk_range *range = chalk_range_find(&book->maps, address, address);

    if (range != NULL && range->first == address)
        remove_entry(&book->maps, range);
}

const struct book_map *book_next_map(const struct book *book, const struct book_map *previous)
{
    return next_entry(&book->maps, previous);
}

/* ---- interrupts ---- */

static uint64_t position(uint32_t index, uint32_t vector)
{
    return (uint64_t)index << 32 | vector;
}

/* All of an index for `count` 0. */
static void forget_irqs(struct book *book, uint32_t index, uint32_t start, uint32_t count)
{
    uint64_t first = position(index, count != 0 ? start : 0),
             last = count != 0 ? first + (count - 1) : position(index, UINT32_MAX);
    struct chalk_range *range;

    while ((range = chalk_range_find(&book->irqs, first, last)) != NULL)
        remove_entry(&book->irqs, range);
}

int book_set_irqs(struct book *book, const struct vfio_irq_set *set, const int *fds)
{
    forget_irqs(book, set->index, set->start, set->count);
    for (uint32_t i = 0; fds != NULL && i < set->count; i++) {
        struct book_irq *irq = malloc(sizeof *irq);
        uint64_t at = position(set->index, set->start + i);

        if (irq == NULL)
            return -ENOMEM;
        *irq = (struct book_irq){
            .range = {.first = at, .last = at}, .index = set->index, .vector = set->start + i, .fd = fds[i]};
        chalk_range_add(&book->irqs, &irq->range);
    }
    return 0;
}

const struct book_irq *book_next_irq(const struct book *book, const struct book_irq *previous)
{
    return next_entry(&book->irqs, previous);
}

void book_free(struct book *book)
{
    struct chalk_range *range;

    if (book == NULL)
        return;
    while ((range = book->maps.root) != NULL)
        remove_entry(&book->maps, range);
    while ((range = book->irqs.root) != NULL)
        remove_entry(&book->irqs, range);
    free(book);
}
