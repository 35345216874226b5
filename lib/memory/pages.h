/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A first-fit allocator of 4 KiB pages over one region. Its books lie elsewhere, where the caller says: the
 * region itself may be open to devices, and is not touched.
 */
#ifndef CHALK_MEMORY_PAGES_H
#define CHALK_MEMORY_PAGES_H

#include <stddef.h>
#include <stdint.h>

struct chalk_pages {
    char *base;   /* page-aligned */
    size_t count; /* pages in the region */
    size_t used;
    uint64_t *taken; /* a bit a page: handed out */
    uint64_t *last;  /* a bit a page: the last of what was handed out at once */
};

/* Bytes of books that `count` pages need. */
size_t chalk_pages_books(size_t count);

/* A region in which every page is free. `books` is aligned to 8 bytes. */
void chalk_pages_start(struct chalk_pages *pages, void *base, size_t count, void *books);

/* `count` pages whose address is a multiple of `align` (a power of two, at least a page); NULL if there are
 * none. */
void *chalk_pages_get(struct chalk_pages *pages, size_t count, size_t align);

/* Gives back exactly what chalk_pages_get() returned; anything else ends the program. */
void chalk_pages_put(struct chalk_pages *pages, void *address, size_t count);

#endif
