/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device's process was told, to be told again when it comes back after a restart: memory, eventfds,
 * and the command register. Also what tells whether it is the same device. Under peer_lock().
 */
#ifndef VFIO_USER_BOOK_H
#define VFIO_USER_BOOK_H

#include "protocol.h"

#include <stddef.h>
#include <stdint.h>

#include <chalk/range.h>

struct book_map {
    struct chalk_range range; /* of device addresses */
    struct vfio_user_dma_map map;
    int fd; /* the span's; -1: by messages */
};

struct book_irq {
    struct chalk_range range; /* one position: index << 32 | vector */
    uint32_t index, vector;   /* VFIO's */
    int fd;                   /* the listener's */
};

/* All zero is an empty one. */
struct book {
    struct chalk_ranges maps, irqs;
    uint32_t identity[2]; /* of the configuration space: vendor and device, class */
    uint16_t command;
};

/* Errors: -ENOMEM, -EEXIST (it overlaps another one). */
int book_add_map(struct book *book, const struct vfio_user_dma_map *map, int fd);
/* Removes the map that begins at this device address, if there is one. */
void book_remove_map(struct book *book, uint64_t address);

/* `fds` is NULL, or one for each vector of the set; a set of no vectors forgets all of its index. Errors:
 * -ENOMEM.
 */
int book_set_irqs(struct book *book, const struct vfio_irq_set *set, const int *fds);

/* The entry after `previous`, in the order of addresses and of vectors; the first one after NULL. NULL: there
 * are no more. */
const struct book_map *book_next_map(const struct book *book, const struct book_map *previous);
const struct book_irq *book_next_irq(const struct book *book, const struct book_irq *previous);

void book_free(struct book *book);

#endif
