/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A claim, a page allocator over all of it, and a record for each domain that reaches it.
 *
 *     home:  | struct chalk_arena | books |       of chalk_arena_create(), else memory of whoever starts it
 *     claim: | pages to hand out ...      |
 */
#include "claims.h"
#include "grants.h"
#include "loans.h"
#include <chalk/arena.h>
#include <chalk/error.h>
#include <string.h>

_Static_assert(offsetof(struct chalk_arena, home) == 0, "the claim is written before the rest");

/* ---- set-up ---- */

size_t chalk_arena_books(size_t size)
{
    return chalk_pages_books(chalk_page_count(size));
}

int chalk_arena_start(struct chalk_arena *arena, const struct chalk_arena_options *options, void *books)
{
    const char *name = options->name ? options->name : "an arena without a name";
    uint64_t max_address = options->max_address ? options->max_address : UINT64_MAX;
    int error;

    memset((char *)arena + sizeof arena->home, 0, sizeof *arena - sizeof arena->home);
    error = options->va
                ? chalk_claim_range_for_devices(options->va, options->size, name, &arena->claim)
                : chalk_claim_for_devices(options->size, options->node, max_address, name, &arena->claim);
    if (error)
        return error;
    arena->name = name;
    arena->iova_offset = arena->claim.iova - (uintptr_t)arena->claim.va;
    chalk_pages_start(&arena->pages, name, arena->claim.va, arena->claim.size / CHALK_PAGE, books);
    arena->pages.node = arena->claim.node;
    return 0;
}

void chalk_arena_end(struct chalk_arena *arena)
{
    for (unsigned i = 0; i < CHALK_ARENA_DOMAINS; i++) {
        if (!arena->grants[i].domain)
            continue;
        chalk_log(CHALK_ERROR,
                  "%s gives back %zu KiB at %p while devices still reach them; unshare them first",
                  arena->name, arena->claim.size >> 10, (void *)arena->claim.va);
        chalk_exit(134); /* as a failed assertion */
    }
    chalk_claim_release(&arena->claim);
}

int chalk_arena_create(const struct chalk_arena_options *options, struct chalk_arena **arena)
{
    size_t books_size = chalk_arena_books(options->size);
    struct chalk_claim *home;
    int error;

    if (options->size == 0)
        return -EINVAL;
    if (chalk_page_count(options->size) == 0)
        return -ENOMEM;
    error = chalk_claim_inside(sizeof **arena + books_size, options->node, UINT64_MAX, options->name, &home);
    if (error)
        return error;
    struct chalk_arena *new = (struct chalk_arena *)(void *)home;
    error = chalk_arena_start(new, options, new + 1);
    if (error) {
        chalk_claim_release(home);
        return error;
    }
    *arena = new;
    return 0;
}

void chalk_arena_destroy(struct chalk_arena *arena)
{
    chalk_arena_end(arena);
    chalk_claim_release(&arena->home); /* the last: the records are in it */
}

/* ---- who reaches it ---- */

/* The record of what this domain was granted (NULL: one that is free), or NULL. */
static struct chalk_grant *grant_of(struct chalk_arena *arena, const struct chalk_domain *domain)
{
    for (unsigned i = 0; i < CHALK_ARENA_DOMAINS; i++)
        if (arena->grants[i].domain == domain)
            return &arena->grants[i];
    return NULL;
}

unsigned chalk_arena_protection(const struct chalk_arena *arena, const struct chalk_domain *domain)
{
    for (unsigned i = 0; i < CHALK_ARENA_DOMAINS; i++)
        if (arena->grants[i].domain == domain)
            return arena->grants[i].protection;
    return 0;
}

int chalk_arena_share(struct chalk_arena *arena, struct chalk_domain *domain, unsigned protection)
{
    const struct chalk_claim *claim = &arena->claim;
    struct chalk_grant *grant;
    int error;

    chalk_assert(domain);
    grant = grant_of(arena, domain);
    if (grant && grant->protection != protection) {
        chalk_log(CHALK_ERROR, "%s is shared with this domain already, for %s; unshare it first", arena->name,
                  chalk_protection_name(grant->protection));
        return -EEXIST;
    }
    if (!grant)
        grant = grant_of(arena, NULL);
    if (!grant) {
        chalk_log(CHALK_ERROR, "%s is shared with %d domains already; create another one", arena->name,
                  CHALK_ARENA_DOMAINS);
        return -ENOSPC;
    }
    error = chalk_dma_map(domain, claim->va, claim->size, claim->iova, protection);
    if (error)
        return error;
    if (grant->count++ == 0) {
        *grant = (struct chalk_grant){.domain = domain,
                                      .va = claim->va,
                                      .iova = claim->iova,
                                      .size = claim->size,
                                      .protection = protection,
                                      .count = 1};
        chalk_grants_come(arena);
    }
    return 0;
}

void chalk_arena_unshare(struct chalk_arena *arena, struct chalk_domain *domain)
{
    struct chalk_grant *grant;
    int error;

    chalk_assert(domain);
    grant = grant_of(arena, domain);
    if (!grant)
        chalk_misuse("%s is unshared from a domain that it is not shared with: call it once for each share",
                     arena->name);
    chalk_loan_check(arena->name, "unshares", arena->claim.va, arena->claim.size, domain);
    if (--grant->count == 0) {
        chalk_grants_go(arena, grant);
    }
    error = chalk_dma_unmap(domain, arena->claim.iova, arena->claim.size);
    chalk_assert(error == 0); /* else a device would still reach it */
}

/* ---- what is handed out ---- */

int chalk_arena_get(struct chalk_arena *arena, size_t size, size_t align, struct chalk_dma *dma)
{
    size_t count = chalk_page_count(size);
    void *address;

    if (align < CHALK_PAGE && (align & (align - 1)) == 0)
        align = CHALK_PAGE;
    if (size == 0 || (align & (align - 1)) != 0)
        return -EINVAL;
    if (arena->iova_offset & (align - 1)) /* then no page has both addresses aligned */
        return -EINVAL;
    address = chalk_pages_get_lowest(&arena->pages, count, align);
    if (!address)
        return -ENOMEM;
    memset(address, 0, count * CHALK_PAGE);
    dma->va = address;
    dma->iova = (uintptr_t)address + arena->iova_offset;
    dma->size = size;
    return 0;
}

void chalk_arena_put(struct chalk_arena *arena, const struct chalk_dma *dma)
{
    if (dma->va)
        chalk_pages_put(&arena->pages, dma->va, chalk_page_count(dma->size));
}
