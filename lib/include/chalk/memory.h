/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for drivers and their buffers, claimed from the platform's spans.
 *
 * A `struct chalk_memory` has two parts. The private part is for the host alone: driver state, request
 * tables, this allocator's own books. The shared part is for devices: rings and buffers, with handles. It is
 * an arena, and only that is ever mapped into a domain, so that no device can reach what the program trusts.
 *
 * Both parts hand out whole 4 KiB pages, first fit, zeroed. Allocation is for set-up, never for hot
 * paths. One core at a time may use one chalk_memory; different ones are independent.
 */
#ifndef CHALK_MEMORY_H
#define CHALK_MEMORY_H

#include <chalk/arena.h>
#include <chalk/dma.h>
#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_memory;

struct chalk_memory_options {
    size_t private_size;  /* bytes; 0: 1 MiB */
    size_t shared_size;   /* bytes; 0: 4 MiB */
    unsigned node;        /* NUMA node: CHALK_NODE(n), 0: any */
    uint64_t max_address; /* of the shared part's iovas; 0: no limit */
    const char *name;     /* in messages about its claims; stays valid as long as the memory */
};

/*
 * Claims memory from the spans that there are, or grows one. `options` may be NULL.
 * Errors: -ENOMEM, -ERANGE (as chalk_span_grow(), which has logged the cure).
 */
int chalk_memory_create(const struct chalk_memory_options *options, struct chalk_memory **memory);

/* Gives everything back. Every domain has been unshared, and nothing of it is used any more. */
void chalk_memory_destroy(struct chalk_memory *memory);

/* Maps the shared part, readable and writable, into `domain`. Errors: as chalk_dma_map(). */
int chalk_memory_share(struct chalk_memory *memory, struct chalk_domain *domain);

/* Undoes it: when it returns no device of `domain` reaches the shared part. */
void chalk_memory_unshare(struct chalk_memory *memory, struct chalk_domain *domain);

/* Private memory of at least `size` bytes, page-aligned and zeroed; NULL when there is none. Putting NULL is
 * nothing. */
void *chalk_memory_get(struct chalk_memory *memory, size_t size);
void chalk_memory_put(struct chalk_memory *memory, void *address, size_t size);

/* Shared memory, as chalk_arena_get(): zeroed, contiguous and aligned for the program and for devices. */
int chalk_dma_get(struct chalk_memory *memory, size_t size, size_t align, struct chalk_dma *dma);
void chalk_dma_put(struct chalk_memory *memory, const struct chalk_dma *dma);

/* The shared part, for what only <chalk/arena.h> can do: a domain that may only read. */
struct chalk_arena *chalk_memory_arena(struct chalk_memory *memory);

/* How much of each part is handed out, in bytes. */
struct chalk_memory_usage {
    size_t private_used, private_size;
    size_t shared_used, shared_size;
};
void chalk_memory_get_usage(const struct chalk_memory *memory, struct chalk_memory_usage *usage);

#ifdef __cplusplus
}
#endif
#endif
