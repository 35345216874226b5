/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that devices share: one piece of a span, whose iovas are a constant away from its addresses.
 *
 * An arena is mapped once into each domain that it is shared with, however often it is shared, and at the
 * same iovas in all of them. So what one device wrote another one reads, without a copy, a look-up or another
 * mapping. A domain whose devices only read is granted no more than that, and then its IOMMU refuses the
 * rest.
 *
 * Of an arena's memory Chalk keeps nothing to itself and trusts nothing: the record and the allocator's books
 * lie elsewhere, where no device reaches them. An arena hands out whole 4 KiB pages, lowest first, zeroed.
 * That is for set-up, never for hot paths. One core at a time may use one arena.
 */
#ifndef CHALK_ARENA_H
#define CHALK_ARENA_H

#include <chalk/claim.h>
#include <chalk/dma.h>
#include <chalk/pages.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_ARENA_DOMAINS 64 /* that one arena can be shared with */

struct chalk_arena_options {
    size_t size;          /* bytes, rounded up to whole pages */
    unsigned node;        /* NUMA node: CHALK_NODE(n), 0: any */
    uint64_t max_address; /* of its iovas, for devices with short addresses; 0: no limit */
    const char *name;     /* in messages; stays valid as long as the arena */
    void *va;             /* NULL: wherever; else just there, in a span of any kind */
};

/* What one domain reaches of an arena. */
struct chalk_grant {
    const struct chalk_domain *domain; /* NULL: a record that is not in use */
    char *va;
    uint64_t iova;
    size_t size;
    unsigned protection; /* enum chalk_protection */
    unsigned count;      /* how often it was shared */
};

/* The program only reads `iova_offset`, `name`, `claim`, and of `pages` what that header names. */
struct chalk_arena {
    struct chalk_claim home; /* of chalk_arena_create(), where the record and the books are; else unused */
    uint64_t iova_offset;    /* an iova is an address plus this */
    const char *name;
    struct chalk_claim claim; /* the memory itself */
    struct chalk_pages pages;
    struct chalk_range iovas; /* while it is shared with any domain */
    struct chalk_grant grants[CHALK_ARENA_DOMAINS];
    unsigned grant_count; /* that are in use */
};

/*
 * Claims memory for an arena, and apart from it a few pages for its books. Errors: -EINVAL (no size), as
 * chalk_claim_memory(), or with options->va as chalk_claim_range().
 */
int chalk_arena_create(const struct chalk_arena_options *options, struct chalk_arena **arena);

/* Gives it back. It is shared with no domain any more, else the program ends with a message. */
void chalk_arena_destroy(struct chalk_arena *arena);

/* Bytes of books for an arena of `size` bytes. */
size_t chalk_arena_books(size_t size);

/* The same, with the record and the books (aligned to 8 bytes) in private memory of one's own. */
int chalk_arena_start(struct chalk_arena *arena, const struct chalk_arena_options *options, void *books);
void chalk_arena_end(struct chalk_arena *arena);

/*
 * Lets the devices of `domain` reach all of it; `protection` says how (enum chalk_protection). Errors:
 * -EEXIST (this domain has it, with another protection), -ENOSPC (too many domains), as chalk_dma_map().
 */
int chalk_arena_share(struct chalk_arena *arena, struct chalk_domain *domain, unsigned protection);

/* How the devices of `domain` reach all of it (enum chalk_protection); 0: not at all, it was not shared. */
unsigned chalk_arena_protection(const struct chalk_arena *arena, const struct chalk_domain *domain);

/* Undoes it: as often as it was shared; after the last time no device of `domain` reaches it. */
void chalk_arena_unshare(struct chalk_arena *arena, struct chalk_domain *domain);

/*
 * `size` bytes of it, contiguous for the program and for devices; both addresses are multiples of `align` (a
 * power of two; at least a page is kept to). Errors: -ENOMEM, -EINVAL (no size, not a power of two, or more
 * than the pages of the memory underneath keep to). Putting one whose va is NULL is nothing.
 */
int chalk_arena_get(struct chalk_arena *arena, size_t size, size_t align, struct chalk_dma *dma);
void chalk_arena_put(struct chalk_arena *arena, const struct chalk_dma *dma);

/*
 * The instrumented build's check, where bare metal has no IOMMU to do it: that `size` bytes at `iova` lie in
 * memory that `domain` may read and write. Drivers call it on every ring and table that they give to a
 * device; for the data of requests there is <chalk/loan.h>. Ends the program with a message if not. In other
 * builds it is nothing.
 */
#ifdef CHALK_INSTRUMENTED
void chalk_grant_check(const struct chalk_domain *domain, uint64_t iova, size_t size);
#else
static inline void chalk_grant_check(const struct chalk_domain *domain, uint64_t iova, size_t size)
{
    (void)domain;
    (void)iova;
    (void)size;
}
#endif

#ifdef __cplusplus
}
#endif
#endif
