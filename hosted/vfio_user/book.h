/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device's process was told, to be told again when it comes back after a restart: memory, eventfds,
 * and the command register. Also what tells whether it is the same device. Under peer_lock().
 */
#ifndef VFIO_USER_BOOK_H
#define VFIO_USER_BOOK_H

#include "protocol.h"

#include <stddef.h>

struct book_map {
    struct vfio_user_dma_map map;
    int fd; /* the span's; -1: by messages */
};

struct book_irq {
    uint32_t index, vector; /* VFIO's */
    int fd;                 /* the listener's */
};

struct book {
    struct book_map *maps;
    size_t map_count, map_room;
    struct book_irq *irqs;
    size_t irq_count, irq_room;
    uint32_t identity[2]; /* of the configuration space: vendor and device, class */
    uint16_t command;
};

/* Errors: -ENOMEM. */
int book_add_map(struct book *book, const struct vfio_user_dma_map *map, int fd);
void book_remove_map(struct book *book, uint64_t address);

/* `fds` is NULL, or one for each vector of the set; a set of no vectors forgets all of its index. Errors:
 * -ENOMEM.
 */
int book_set_irqs(struct book *book, const struct vfio_irq_set *set, const int *fds);

void book_free(struct book *book);

#endif
