/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A buddy allocator of pages: blocks of 4 KiB, doubled up to 1 GiB, each at a multiple of its size.
 *
 * It manages one region, and never reads or writes it. Its books lie where the caller says, or, with
 * chalk_pages_create(), in the first pages of a span. So the region may be open to devices: no device can
 * reach the books. A number of pages need not be a power of two: the surplus of a block is free again at
 * once, and if no block is large enough, free neighbours are joined.
 *
 * Getting and putting costs O(log n) steps for a region of n pages, whatever is in use, and a few more for
 * each 2 MiB. One case costs more: an alignment above 8 MiB, if the result is the lowest pages or joined
 * neighbours. It looks at each multiple of that alignment. One core at a time may use one struct chalk_pages.
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
    size_t changed_leaf;                        /* the leaf that its nodes do not reflect yet, or SIZE_MAX */
    size_t found_count, found_align, found_end; /* the last lowest pages; count SIZE_MAX: unknown */
};

/*
 * Claims all of the i-th span for `owner`, and manages it; the books take 0.04 % of it. Errors: as
 * chalk_claim_span(); -EINVAL (not RAM), -ENOSPC (the books would fill the span).
 */
int chalk_pages_create(unsigned i, const char *owner, struct chalk_pages **pages);

/* Gives the span back. The caller uses none of its pages any more. */
void chalk_pages_destroy(struct chalk_pages *pages);

/* Bytes of books that a region of `count` pages needs. */
size_t chalk_pages_books(size_t count);

/* Manages a region that the caller owns, of 1 to 2^32 - 1 pages (16 TiB), all of them free. `books` is
 * aligned to 8 bytes. */
void chalk_pages_start(struct chalk_pages *pages, const char *owner, void *base, size_t count, void *books);

/*
 * Returns `count` pages whose address is a multiple of `align` (a power of two, at least a page), or NULL if
 * there are none. Their content is undefined.
 */
void *chalk_pages_get(struct chalk_pages *pages, size_t count, size_t align);

/*
 * The same, but the lowest free pages, without regard to the ends of blocks: it leaves no gap between two
 * allocations, so a region can be filled completely.
 */
void *chalk_pages_get_lowest(struct chalk_pages *pages, size_t count, size_t align);

/*
 * Gives back exactly what was got. Anything else (a second time, a part, more than it was, another owner's
 * pages) ends the program with a message that names both owners.
 */
void chalk_pages_put(struct chalk_pages *pages, void *address, size_t count);

#ifdef __cplusplus
}
#endif
#endif
