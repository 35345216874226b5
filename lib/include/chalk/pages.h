/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A buddy allocator of pages: blocks of 4 KiB, doubled up to 1 GiB, each at a multiple of its size.
 *
 * It rules one region, and never reads or writes it: its books lie where the caller says, or, with
 * chalk_pages_create(), in the first pages of a span. So the region may be open to devices, of which none can
 * reach the books. What is asked for need not be a power of two: what a block has too much goes back at once,
 * and where no block is large enough, free neighbours are joined.
 *
 * Getting and putting costs O(log n) steps for a region of n pages, whatever is in use, and a little for each
 * 2 MiB that is got or put. Only who asks for an alignment of more than 8 MiB, and is to get the lowest pages
 * or joined neighbours, pays for a look at each multiple of that alignment. One core at a time may use one
 * struct chalk_pages.
 */
#ifndef CHALK_PAGES_H
#define CHALK_PAGES_H

#include <chalk/claim.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_PAGES_ORDERS 19 /* 4 KiB << 18 is 1 GiB */
#define CHALK_PAGES_LEVELS 6  /* 64^6 pages are 256 TiB, all that an address can name */
#define CHALK_PAGES_ALIGNS 12 /* 4 KiB << 11 is 8 MiB */

/* For Chalk: the free blocks of one size. */
struct chalk_pages_set {
    uint64_t *level[CHALK_PAGES_LEVELS]; /* a bit a block; above it, a bit a word of the level below */
    unsigned levels;
};

/* For Chalk: the free pages of a piece of the region. */
struct chalk_pages_run {
    uint32_t prefix, suffix;              /* at either end of it */
    uint32_t longest[CHALK_PAGES_ALIGNS]; /* one after the other, from an aligned one on */
};

/* The program only reads `count`, `used`, `base` and `node`. */
struct chalk_pages {
    struct chalk_claim claim; /* of chalk_pages_create(), else unused */
    const char *owner;
    char *base;     /* page-aligned */
    size_t count;   /* pages in the region */
    size_t used;    /* of those, handed out */
    unsigned node;  /* CHALK_NODE(), 0: unknown */
    uint8_t *heads; /* a byte a page */
    struct chalk_pages_set free[CHALK_PAGES_ORDERS];
    uint64_t *bits;                             /* a bit a page that is free, from a multiple of 2 MiB on */
    struct chalk_pages_run *runs;               /* a tree over them, see lib/memory/runs.c */
    size_t changed_leaf;                        /* which has changed since its nodes were told, or SIZE_MAX */
    size_t found_count, found_align, found_end; /* the last lowest pages; count SIZE_MAX: look anew */
};

/*
 * Claims all of the i-th span for `owner`, and rules it; the books take 0.04 % of it. Errors: as
 * chalk_claim_span(); -EINVAL (not RAM), -ENOSPC (too small for anything but books).
 */
int chalk_pages_create(unsigned i, const char *owner, struct chalk_pages **pages);

/* Gives the span back. Nothing of it is used any more. */
void chalk_pages_destroy(struct chalk_pages *pages);

/* Bytes of books that a region of `count` pages needs. */
size_t chalk_pages_books(size_t count);

/* Rules a region of one's own, of 1 to 2^32 - 1 pages (16 TiB), all of it free. `books` is aligned to 8
 * bytes. */
void chalk_pages_start(struct chalk_pages *pages, const char *owner, void *base, size_t count, void *books);

/*
 * `count` pages whose address is a multiple of `align` (a power of two, at least a page); NULL if there are
 * none. What they hold is not defined.
 */
void *chalk_pages_get(struct chalk_pages *pages, size_t count, size_t align);

/*
 * The same, but the lowest pages that there are, wherever blocks end: nothing is left between two
 * allocations, so that a region holds as much as it has.
 */
void *chalk_pages_get_lowest(struct chalk_pages *pages, size_t count, size_t align);

/*
 * Gives back exactly what was got. Anything else (twice, a part, more than it was,
 * somebody else's) ends the program with a message that names both owners.
 */
void chalk_pages_put(struct chalk_pages *pages, void *address, size_t count);

#ifdef __cplusplus
}
#endif
#endif
