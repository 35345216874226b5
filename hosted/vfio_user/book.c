/* SPDX-License-Identifier: BSD-2-Clause */
/* See book.h. */
#include "book.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room for one entry more. */
static void *grow(void *entries, size_t count, size_t *room, size_t size)
{
    void *grown;

    if (count < *room)
        return entries;
    grown = realloc(entries, (*room + 16) * 2 * size);
    if (grown != NULL)
        *room = (*room + 16) * 2;
    return grown;
}

int book_add_map(struct book *book, const struct vfio_user_dma_map *map, int fd)
{
    struct book_map *maps = grow(book->maps, book->map_count, &book->map_room, sizeof *maps);

    if (maps == NULL)
        return -ENOMEM;
    book->maps = maps;
    maps[book->map_count++] = (struct book_map){*map, fd};
    return 0;
}

void book_remove_map(struct book *book, uint64_t address)
{
    for (size_t i = book->map_count; i-- > 0;)
        if (book->maps[i].map.address == address) {
            book->maps[i] = book->maps[--book->map_count];
            return;
        }
}

static void forget_irqs(struct book *book, uint32_t index, uint32_t start, uint32_t count)
{
    for (size_t i = book->irq_count; i-- > 0;)
        if (book->irqs[i].index == index && book->irqs[i].vector - start < count)
            book->irqs[i] = book->irqs[--book->irq_count];
}

int book_set_irqs(struct book *book, const struct vfio_irq_set *set, const int *fds)
{
    forget_irqs(book, set->index, set->start, set->count != 0 ? set->count : UINT32_MAX);
    for (uint32_t i = 0; fds != NULL && i < set->count; i++) {
        struct book_irq *irqs = grow(book->irqs, book->irq_count, &book->irq_room, sizeof *irqs);

        if (irqs == NULL)
            return -ENOMEM;
        book->irqs = irqs;
        irqs[book->irq_count++] = (struct book_irq){set->index, set->start + i, fds[i]};
    }
    return 0;
}

void book_free(struct book *book)
{
    if (book == NULL)
        return;
    free(book->maps);
    free(book->irqs);
    free(book);
}
