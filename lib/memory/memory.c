/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A claim with a page allocator, and an arena. The private claim begins with struct chalk_memory and the
 * books of both; the shared part holds nothing but what was asked for, since devices can write all of it.
 *
 *     private: | struct chalk_memory | books | pages to hand out ...   |
 *     shared:  | pages to hand out ...                                 |
 */
#include "claims.h"
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/memory.h>
#include <string.h>

#define DEFAULT_PRIVATE ((size_t)1 << 20)
#define DEFAULT_SHARED  ((size_t)4 << 20)

struct chalk_memory {
    struct chalk_claim claim; /* first: it is written when the memory is claimed */
    struct chalk_pages pages; /* of the private part */
    struct chalk_arena arena; /* the shared part */
};

int chalk_memory_create(const struct chalk_memory_options *options, struct chalk_memory **memory)
{
    static const struct chalk_memory_options defaults = {0};
    struct chalk_claim *claim;
    int error;

    if (!options)
        options = &defaults;
    struct chalk_arena_options shared = {
        .size = options->shared_size ? options->shared_size : DEFAULT_SHARED,
        .node = options->node,
        .max_address = options->max_address,
        .name = options->name ? options->name : "a chalk_memory without a name",
    };
    size_t private_count = chalk_page_count(options->private_size ? options->private_size : DEFAULT_PRIVATE);
    if (!private_count || !chalk_page_count(shared.size))
        return -ENOMEM;
    size_t private_books = chalk_pages_books(private_count);
    size_t head_count =
        chalk_page_count(sizeof(struct chalk_memory) + private_books + chalk_arena_books(shared.size));

    error = chalk_claim_inside((head_count + private_count) * CHALK_PAGE, options->node, UINT64_MAX,
                               shared.name, &claim);
    if (error)
        return error;
    struct chalk_memory *new = (struct chalk_memory *)(void *)claim;
    char *books = (char *)(new + 1);
    error = chalk_arena_start(&new->arena, &shared, books + private_books);
    if (error) {
        chalk_claim_release(claim);
        return error;
    }
    chalk_pages_start(&new->pages, shared.name, (char *)new + head_count *CHALK_PAGE, private_count, books);
    new->pages.node = claim->node;
    *memory = new;
    return 0;
}

void chalk_memory_destroy(struct chalk_memory *memory)
{
    chalk_arena_end(&memory->arena);
    chalk_claim_release(&memory->claim); /* the last: the records are in it */
}

struct chalk_arena *chalk_memory_arena(struct chalk_memory *memory)
{
    return &memory->arena;
}

int chalk_memory_share(struct chalk_memory *memory, struct chalk_domain *domain)
{
    return chalk_arena_share(&memory->arena, domain, CHALK_DEVICE_READS | CHALK_DEVICE_WRITES);
}

void chalk_memory_unshare(struct chalk_memory *memory, struct chalk_domain *domain)
{
    chalk_arena_unshare(&memory->arena, domain);
}

void *chalk_memory_get(struct chalk_memory *memory, size_t size)
{
    size_t count = chalk_page_count(size);
    void *address = chalk_pages_get_lowest(&memory->pages, count, CHALK_PAGE);

    if (address)
        memset(address, 0, count * CHALK_PAGE);
    return address;
}

void chalk_memory_put(struct chalk_memory *memory, void *address, size_t size)
{
    if (address)
        chalk_pages_put(&memory->pages, address, chalk_page_count(size));
}

int chalk_dma_get(struct chalk_memory *memory, size_t size, size_t align, struct chalk_dma *dma)
{
    int error = chalk_arena_get(&memory->arena, size, align, dma);
    size_t all = memory->arena.pages.count * CHALK_PAGE;

    if (error == -ENOMEM && size > all) /* whatever is given back */
        chalk_log(CHALK_WARNING,
                  "chalk_dma_get(): %zu KiB are more than all shared memory of %s, %zu KiB; give it a larger "
                  "shared_size",
                  (size - 1) / 1024 + 1, memory->pages.owner, all / 1024);
    return error;
}

void chalk_dma_put(struct chalk_memory *memory, const struct chalk_dma *dma)
{
    chalk_arena_put(&memory->arena, dma);
}

void chalk_memory_get_usage(const struct chalk_memory *memory, struct chalk_memory_usage *usage)
{
    usage->private_used = memory->pages.used * CHALK_PAGE;
    usage->private_size = memory->pages.count * CHALK_PAGE;
    usage->shared_used = memory->arena.pages.used * CHALK_PAGE;
    usage->shared_size = memory->arena.pages.count * CHALK_PAGE;
}
