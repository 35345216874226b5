/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pages under libc's malloc: mmap(2) and munmap(2). They come from claims, as any client's; each claim is
 * a region, whose first pages have the books of the rest (heap_runs.c). The lowest free pages of the first
 * region that has enough are taken, and a region that is free again goes back. What a call costs grows with
 * the logarithm of the pages, and with the regions, whose number grows with the logarithm of the heap.
 *
 * It runs in place of a system call, for which the compiler keeps values in vector registers, and the
 * portable code that makes claims may use those: they are saved around it.
 */
#include "heap_runs.h"
#include "machine.h"

#include <chalk/claim.h>
#include <chalk/heap.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define REGION_MIN (1ull << 20)
#define REGION_MAX (8ull << 40) /* heap_runs.h */
#define PART       8 /* the next region is so much of what there is: few are needed, little is wasted */

struct region {
    struct chalk_claim claim; /* size 0: not in use */
    char *base;               /* of its pages, after the books */
    size_t pages, used;
    struct heap_runs runs;
};

/* The claims' records have to stay where they are, so there are further ones in pages of their own, for good.
 */
#define REGIONS 16
struct regions {
    struct region here[REGIONS];
    struct chalk_claim claim_of_next;
    struct regions *next;
};
_Static_assert(sizeof(struct regions) <= MEMORY_PAGE, "further records fit a page");

static struct {
    struct chalk_lock lock;
    struct regions first;
    size_t size, limit; /* bytes claimed; and that may be */
} heap = {.limit = SIZE_MAX};

atomic_uint memory_retries;

/* The region after `region`, from NULL to NULL, used or not; *block is where it is. */
static struct region *next_region(struct region *region, struct regions **block)
{
    if (region == NULL)
        *block = &heap.first;
    else if (region + 1 < (*block)->here + REGIONS)
        return region + 1;
    else
        *block = (*block)->next;
    return *block != NULL ? (*block)->here : NULL;
}

static char *take_from(struct region *region, size_t count)
{
    size_t page = heap_runs_lowest(&region->runs, count);

    if (page == HEAP_RUNS_NONE)
        return NULL;
    region->used += heap_runs_set(&region->runs, page, count, false);
    return region->base + page * MEMORY_PAGE;
}

/* ---- regions ---- */

/* SDM vol. 1 10.5: what -mgeneral-regs-only keeps this file's own code from touching. */
struct vectors {
    char bytes[512];
} __attribute__((aligned(16)));

static int claim(size_t size, struct chalk_claim *record)
{
    struct vectors saved;
    int error;

    __asm__ volatile("fxsave64 %0" : "=m"(saved));
    error = chalk_claim_memory(size, 0, UINT64_MAX, "heap", record);
    __asm__ volatile("fxrstor64 %0" : : "m"(saved));
    return error;
}

static void release(struct region *region)
{
    struct vectors saved;

    heap.size -= region->claim.size;
    __asm__ volatile("fxsave64 %0" : "=m"(saved));
    chalk_claim_release(&region->claim);
    __asm__ volatile("fxrstor64 %0" : : "m"(saved));
    region->claim.size = 0;
}

static size_t head_size(size_t pages)
{
    return (heap_runs_books(pages) + MEMORY_PAGE - 1) & ~(MEMORY_PAGE - 1);
}

/* A record that is not in use, or NULL. */
static struct region *unused_region(void)
{
    struct regions *block, *last = &heap.first;
    struct region *region = NULL;

    while ((region = next_region(region, &block)) != NULL) {
        if (region->claim.size == 0)
            return region;
        last = block;
    }
    if (claim(sizeof(struct regions), &last->claim_of_next) != 0)
        return NULL;
    last->claim_of_next.lasts = true;
    last->next = memset(last->claim_of_next.va, 0, sizeof(struct regions));
    return last->next->here;
}

/* Claims `wanted` bytes, or what is to be had of that, down to `least`. Only the last failure is logged. */
static int claim_most(size_t wanted, size_t least, struct chalk_claim *record)
{
    int error = -ENOMEM;

    memory_retries++;
    for (; error != 0 && wanted > least; wanted /= 2)
        error = claim(wanted, record);
    memory_retries--;
    return error != 0 ? claim(least, record) : 0;
}

/* A region with room for `count` pages. */
static struct region *grow(size_t count)
{
    size_t left = heap.limit > heap.size ? heap.limit - heap.size : 0,
           wanted = heap.size / PART & ~(MEMORY_PAGE - 1);
    size_t least = count * MEMORY_PAGE + head_size(count);

    least += head_size(least / MEMORY_PAGE) - head_size(count); /* the books are for all pages of the claim */
    if (least > left || least > REGION_MAX)
        return NULL;
    if (wanted < REGION_MIN)
        wanted = REGION_MIN;
    if (wanted > left)
        wanted = left & ~(MEMORY_PAGE - 1);
    struct region *region = unused_region();
    if (region == NULL)
        return NULL;
    if (claim_most(wanted, least, &region->claim) != 0) {
        region->claim.size = 0;
        return NULL;
    }
    region->claim.lasts = true;
    heap.size += region->claim.size;
    size_t pages = region->claim.size / MEMORY_PAGE, head = head_size(pages);
    region->base = region->claim.va + head;
    region->pages = pages - head / MEMORY_PAGE;
    region->used = 0;
    heap_runs_start(&region->runs, region->pages, region->claim.va);
    return region;
}

static char *take(size_t count)
{
    struct regions *block;
    struct region *region = NULL;

    while ((region = next_region(region, &block)) != NULL)
        if (region->claim.size != 0 && heap_runs_longest(&region->runs) >= count)
            return take_from(region, count);
    region = grow(count);
    return region != NULL ? take_from(region, count) : NULL;
}

long heap_map(size_t size, long flags)
{
    size_t count = size / MEMORY_PAGE + (size % MEMORY_PAGE != 0);
    char *address;

    if (size == 0 || !(flags & MAP_ANONYMOUS) || (flags & MAP_FIXED))
        return -EINVAL;
    if (size > PTRDIFF_MAX)
        return -ENOMEM;
    chalk_lock_take(&heap.lock);
    address = take(count);
    chalk_lock_release(&heap.lock);
    if (address == NULL)
        return -ENOMEM;
    memset(address, 0, count * MEMORY_PAGE);
    return (long)address;
}

static long unmap(uint64_t address, size_t size)
{
    struct regions *block;
    struct region *region = NULL;

    while ((region = next_region(region, &block)) != NULL) {
        uint64_t offset = address - (uint64_t)region->base, whole = region->pages * MEMORY_PAGE;

        if (region->claim.size == 0 || offset >= whole || size > whole - offset)
            continue;
        region->used -=
            heap_runs_set(&region->runs, offset / MEMORY_PAGE, (size + MEMORY_PAGE - 1) / MEMORY_PAGE, true);
        if (region->used == 0 && region->claim.size < heap.size) /* the last one stays */
            release(region);
        return 0;
    }
    return -EINVAL;
}

long heap_unmap(uint64_t address, size_t size)
{
    long error;

    if (address % MEMORY_PAGE != 0 || size == 0)
        return -EINVAL;
    chalk_lock_take(&heap.lock);
    error = unmap(address, size);
    chalk_lock_release(&heap.lock);
    return error;
}

int chalk_heap_limit(size_t bytes)
{
    chalk_lock_take(&heap.lock);
    heap.limit = bytes;
    chalk_lock_release(&heap.lock);
    return 0;
}
