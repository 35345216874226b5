/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pages under libc's malloc: mmap(2) and munmap(2). They come from claims, as any client's, and each
 * claim is a region with a bit a page in its first pages; first fit. A region that is free again goes back.
 *
 * It runs in place of a system call, for which the compiler keeps values in vector registers, and the
 * portable code that makes claims may use those: they are saved around it.
 */
#include "machine.h"

#include <chalk/claim.h>
#include <chalk/heap.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define REGION_MIN (1ull << 20)
#define REGION_MAX (64ull << 20)

struct region {
    struct chalk_claim claim; /* size 0: not in use */
    char *base;               /* of its pages, after the bits */
    size_t pages, used;
    uint64_t *bits;
};

static struct {
    struct lock lock;
    struct region regions[64];
    size_t size, limit; /* bytes claimed; and that may be */
} heap = {.lock = {ATOMIC_FLAG_INIT}, .limit = SIZE_MAX};

/* ---- one region ---- */

static bool is_used(const struct region *region, size_t page)
{
    return region->bits[page / 64] >> page % 64 & 1;
}

static void set_used(struct region *region, size_t page, size_t count, bool used)
{
    for (; count > 0; page++, count--) {
        uint64_t bit = 1ull << page % 64;

        if (is_used(region, page) != used)
            region->used += used ? 1 : -1ull;
        region->bits[page / 64] = (region->bits[page / 64] & ~bit) | (used ? bit : 0);
    }
}

static char *take_from(struct region *region, size_t count)
{
    size_t run = 0;

    for (size_t page = 0; count <= region->pages - region->used && page < region->pages; page++) {
        run = is_used(region, page) ? 0 : run + 1;
        if (run == count) {
            set_used(region, page + 1 - count, count, true);
            return region->base + (page + 1 - count) * MEMORY_PAGE;
        }
    }
    return NULL;
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

static size_t bits_size(size_t pages)
{
    return ((pages + 7) / 8 + MEMORY_PAGE - 1) & ~(MEMORY_PAGE - 1);
}

/* A region with room for `count` pages: as much again as there is, so that few are needed; or just enough. */
static struct region *grow(size_t count)
{
    size_t least = count * MEMORY_PAGE + bits_size(count + count / 4096 + 2);
    size_t left = heap.limit > heap.size ? heap.limit - heap.size : 0;
    size_t wanted = heap.size < REGION_MIN ? REGION_MIN : heap.size > REGION_MAX ? REGION_MAX : heap.size;
    struct region *region = heap.regions;

    while (region->claim.size != 0)
        if (++region == heap.regions + sizeof heap.regions / sizeof heap.regions[0])
            return NULL;
    if (least > left)
        return NULL;
    if (wanted < least || wanted > left)
        wanted = least;
    if (claim(wanted, &region->claim) != 0 && (wanted == least || claim(least, &region->claim) != 0)) {
        region->claim.size = 0;
        return NULL;
    }
    region->claim.lasts = true;
    heap.size += region->claim.size;
    size_t head = bits_size(region->claim.size / MEMORY_PAGE);
    region->bits = (uint64_t *)(void *)region->claim.va;
    region->base = region->claim.va + head;
    region->pages = (region->claim.size - head) / MEMORY_PAGE;
    region->used = 0;
    memset(region->bits, 0, head);
    return region;
}

static char *take(size_t count)
{
    const unsigned all = sizeof heap.regions / sizeof heap.regions[0];
    char *address = NULL;

    for (unsigned i = 0; address == NULL && i < all; i++)
        if (heap.regions[i].claim.size != 0)
            address = take_from(&heap.regions[i], count);
    if (address == NULL) {
        struct region *grown = grow(count);

        address = grown != NULL ? take_from(grown, count) : NULL;
    }
    return address;
}

long heap_map(size_t size, long flags)
{
    size_t count = size / MEMORY_PAGE + (size % MEMORY_PAGE != 0);
    char *address;

    if (size == 0 || !(flags & MAP_ANONYMOUS) || (flags & MAP_FIXED))
        return -EINVAL;
    if (size > PTRDIFF_MAX)
        return -ENOMEM;
    lock_take(&heap.lock);
    address = take(count);
    lock_drop(&heap.lock);
    if (address == NULL)
        return -ENOMEM;
    memset(address, 0, count * MEMORY_PAGE);
    return (long)address;
}

static long unmap(uint64_t address, size_t size)
{
    for (struct region *region = heap.regions;
         region < heap.regions + sizeof heap.regions / sizeof heap.regions[0]; region++) {
        uint64_t offset = address - (uint64_t)region->base, whole = region->pages * MEMORY_PAGE;

        if (region->claim.size == 0 || offset >= whole || size > whole - offset)
            continue;
        set_used(region, offset / MEMORY_PAGE, (size + MEMORY_PAGE - 1) / MEMORY_PAGE, false);
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
    lock_take(&heap.lock);
    error = unmap(address, size);
    lock_drop(&heap.lock);
    return error;
}

int chalk_heap_limit(size_t bytes)
{
    lock_take(&heap.lock);
    heap.limit = bytes;
    lock_drop(&heap.lock);
    return 0;
}
