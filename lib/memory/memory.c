/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two claims and two page allocators. The private claim begins with struct chalk_memory and the books of both
 * allocators; the shared claim holds nothing but what was asked for, since devices can write all of it.
 *
 *     private: | struct chalk_memory | books | pages to hand out ...   |
 *     shared:  | pages to hand out ...                                 |
 */
#include "claims.h"
#include "grants.h"
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/memory.h>
#include <chalk/pages.h>
#include <string.h>

#define DEFAULT_PRIVATE ((size_t)1 << 20)
#define DEFAULT_SHARED  ((size_t)4 << 20)
#define MAX_GRANTS      64

struct chalk_memory {
    struct chalk_claim private_claim; /* first: it is written when the memory is claimed */
    struct chalk_claim shared_claim;
    struct chalk_pages private_pages, shared_pages;
    struct chalk_grant grants[MAX_GRANTS];
};

/* Whole pages, or 0 when the size is beyond anything that exists. */
static size_t page_count(size_t size)
{
    return size > SIZE_MAX / 2 ? 0 : (size + CHALK_PAGE - 1) / CHALK_PAGE;
}

int chalk_memory_create(const struct chalk_memory_options *options, struct chalk_memory **memory)
{
    static const struct chalk_memory_options defaults = {.node = -1};
    struct chalk_claim *claim;
    int error;

    if (!options)
        options = &defaults;
    size_t private_count = page_count(options->private_size ? options->private_size : DEFAULT_PRIVATE);
    size_t shared_count = page_count(options->shared_size ? options->shared_size : DEFAULT_SHARED);
    if (!private_count || !shared_count)
        return -ENOMEM;
    size_t private_books = chalk_pages_books(private_count);
    size_t head_count =
        page_count(sizeof(struct chalk_memory) + private_books + chalk_pages_books(shared_count));

    const char *name = options->name ? options->name : "a chalk_memory without a name";
    error = chalk_claim_inside((head_count + private_count) * CHALK_PAGE, options->node, UINT64_MAX, name,
                               &claim);
    if (error)
        return error;
    struct chalk_memory *new = (struct chalk_memory *)(void *)claim->va;
    memset((char *)new + sizeof new->private_claim, 0, sizeof *new - sizeof new->private_claim);
    error = chalk_claim_memory(shared_count * CHALK_PAGE, options->node,
                               options->max_address ? options->max_address : UINT64_MAX, name,
                               &new->shared_claim);
    if (error) {
        chalk_claim_release(&new->private_claim);
        return error;
    }
    char *books = (char *)(new + 1);
    chalk_pages_start(&new->private_pages, name, (char *)new + head_count *CHALK_PAGE, private_count, books);
    chalk_pages_start(&new->shared_pages, name, new->shared_claim.va, shared_count, books + private_books);
    new->private_pages.node = new->private_claim.node;
    new->shared_pages.node = new->shared_claim.node;
    *memory = new;
    return 0;
}

void chalk_memory_destroy(struct chalk_memory *memory)
{
    for (unsigned i = 0; i < MAX_GRANTS; i++)
        chalk_assert(!memory->grants[i].domain); /* else a device still reaches it */
    chalk_claim_release(&memory->shared_claim);
    chalk_claim_release(&memory->private_claim); /* the last: the records are in it */
}

/* The record of what this domain was granted (NULL: one that is free), or NULL. */
static struct chalk_grant *grant_of(struct chalk_memory *memory, const struct chalk_domain *domain)
{
    for (unsigned i = 0; i < MAX_GRANTS; i++)
        if (memory->grants[i].domain == domain)
            return &memory->grants[i];
    return NULL;
}

int chalk_memory_share(struct chalk_memory *memory, struct chalk_domain *domain)
{
    const struct chalk_claim *shared = &memory->shared_claim;
    struct chalk_grant *grant;
    int error;

    chalk_assert(domain);
    grant = grant_of(memory, domain);
    if (!grant)
        grant = grant_of(memory, NULL);
    if (!grant) {
        chalk_log(CHALK_ERROR, "this memory is already shared with %d domains; create another one",
                  MAX_GRANTS);
        return -ENOSPC;
    }
    error = chalk_dma_map(domain, shared->va, shared->size, shared->iova,
                          CHALK_DEVICE_READS | CHALK_DEVICE_WRITES);
    if (error)
        return error;
    if (grant->count++ == 0) {
        grant->domain = domain;
        grant->iova = shared->iova;
        grant->size = shared->size;
        chalk_grant_add(grant);
    }
    return 0;
}

void chalk_memory_unshare(struct chalk_memory *memory, struct chalk_domain *domain)
{
    struct chalk_grant *grant;
    int error;

    chalk_assert(domain);
    grant = grant_of(memory, domain);
    chalk_assert(grant); /* else it was not shared with that domain */
    if (--grant->count == 0) {
        chalk_grant_remove(grant);
        memset(grant, 0, sizeof *grant);
    }
    error = chalk_dma_unmap(domain, memory->shared_claim.iova, memory->shared_claim.size);
    chalk_assert(error == 0); /* else a device would still reach it */
}

void *chalk_memory_get(struct chalk_memory *memory, size_t size)
{
    void *address = chalk_pages_get_lowest(&memory->private_pages, page_count(size), CHALK_PAGE);

    if (address)
        memset(address, 0, page_count(size) * CHALK_PAGE);
    return address;
}

void chalk_memory_put(struct chalk_memory *memory, void *address, size_t size)
{
    if (address)
        chalk_pages_put(&memory->private_pages, address, page_count(size));
}

int chalk_dma_get(struct chalk_memory *memory, size_t size, size_t align, struct chalk_dma *dma)
{
    const struct chalk_claim *shared = &memory->shared_claim;
    char *address;

    if (align < CHALK_PAGE && (align & (align - 1)) == 0)
        align = CHALK_PAGE;
    if (size == 0 || (align & (align - 1)) != 0)
        return -EINVAL;
    if ((shared->iova - (uintptr_t)shared->va) & (align - 1)) /* then no page has both addresses aligned */
        return -EINVAL;
    address = chalk_pages_get_lowest(&memory->shared_pages, page_count(size), align);
    if (!address)
        return -ENOMEM;
    memset(address, 0, page_count(size) * CHALK_PAGE);
    dma->va = address;
    dma->iova = shared->iova + (uint64_t)(address - shared->va);
    dma->size = size;
    return 0;
}

void chalk_dma_put(struct chalk_memory *memory, const struct chalk_dma *dma)
{
    if (dma->va)
        chalk_pages_put(&memory->shared_pages, dma->va, page_count(dma->size));
}

void chalk_memory_usage(const struct chalk_memory *memory, struct chalk_memory_usage *usage)
{
    usage->private_used = memory->private_pages.used * CHALK_PAGE;
    usage->private_size = memory->private_pages.count * CHALK_PAGE;
    usage->shared_used = memory->shared_pages.used * CHALK_PAGE;
    usage->shared_size = memory->shared_pages.count * CHALK_PAGE;
}
