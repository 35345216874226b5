/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory, domains, and the rest of the contract. Memory is mapped twice: where the program has it, and where
 * the device has it; so what AddressSanitizer watches for the program does not bind the device.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <chalk/error.h>
#include <chalk/platform.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE   4096u
#define MEMORY ((size_t)8 << 20)
#define PLACE  ((uintptr_t)0x200000000000) /* the same in every run: the steps of a run may depend on it */
#define MIRROR ((uintptr_t)0x210000000000)
#define IOVA   0x01000000ull

enum { SPANS = 16, MAPPINGS = 32 };

static struct chalk_span spans[SPANS];
static struct chalk_span_books span_books[SPANS];
static unsigned span_count;
static size_t used;

struct mapping {
    uint64_t iova;
    size_t size, offset;
    unsigned protection, count;
};

struct chalk_domain {
    unsigned devices;
    struct mapping mappings[MAPPINGS];
    unsigned count;
};

static struct chalk_domain the_domain;

static void map_memory(uintptr_t place, int fd)
{
    void *at = mmap((void *)place, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);

    if (at != (void *)place) {
        perror("sim: memory at a fixed address");
        exit(2);
    }
}

#if defined(__SANITIZE_ADDRESS__)
void __asan_unpoison_memory_region(const volatile void *address, size_t size);
#else
static void __asan_unpoison_memory_region(const volatile void *address, size_t size)
{
    (void)address, (void)size;
}
#endif

void platform_map(void)
{
    int fd = memfd_create("sim", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)MEMORY) != 0) {
        perror("sim: memfd");
        exit(2);
    }
    map_memory(PLACE, fd);
    map_memory(MIRROR, fd);
}

void platform_begin(void)
{
    if (the_domain.devices != 0)
        sim_fail("a device was left open");
    __asan_unpoison_memory_region((void *)PLACE, used);
    span_count = 0;
    used = 0;
    the_domain = (struct chalk_domain){0};
}

/* ---- memory ---- */

int chalk_span_get(unsigned i, struct chalk_span *span)
{
    sim_point();
    if (i >= span_count)
        return -ENOENT;
    *span = spans[i];
    return 0;
}

int chalk_span_grow(size_t size, size_t page, unsigned node, uint64_t max_address, struct chalk_span *span)
{
    sim_point();
    size = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (span_count == SPANS || size > MEMORY - used || page > PAGE)
        return -ENOMEM;
    if (IOVA + used + size - 1 > max_address)
        return -ERANGE;
    span_books[span_count] = (struct chalk_span_books){0};
    spans[span_count] = (struct chalk_span){.va = (void *)(PLACE + used),
                                            .size = size,
                                            .page = PAGE,
                                            .iova = IOVA + used,
                                            .node = node,
                                            .kind = CHALK_SPAN_RAM,
                                            .books = &span_books[span_count]};
    *span = spans[span_count++];
    (void)madvise(span->va, size, MADV_POPULATE_WRITE); /* one call instead of a fault for each page */
    memset(span->va, 0xa5, size);
    used += size;
    return 0;
}

int chalk_page_guard(void *page, const char *name)
{
    (void)name;
    return (uintptr_t)page % PAGE != 0 ? -EINVAL : 0;
}

/* ---- devices ---- */

int device_open(struct chalk_device **opened);
void device_close(void);

int chalk_device_open(const char *name, struct chalk_domain **domain, struct chalk_device **opened)
{
    int error = strcmp(name, SIM_DEVICE) != 0 ? -ENODEV : device_open(opened);

    if (error != 0)
        return error;
    sim_trace("opens the device", 0, 0, 0, 0);
    *domain = &the_domain;
    the_domain.devices++;
    return 0;
}

void chalk_device_close(struct chalk_device *opened)
{
    (void)opened;
    sim_trace("closes the device", 0, 0, 0, 0);
    device_close();
    the_domain.devices--;
    if (the_domain.count != 0)
        sim_fail("the device is closed, and %u pieces of memory are still mapped", the_domain.count);
}

/* ---- what they may touch ---- */

int chalk_dma_map(struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection)
{
    struct mapping new = {iova, size, (uintptr_t)va - PLACE, protection, 1};

    sim_point();
    if (size == 0 || (((uintptr_t)va | size | iova) & (PAGE - 1)) != 0 || new.offset >= used ||
        size > used - new.offset)
        return -EINVAL;
    for (unsigned i = 0; i < domain->count; i++) {
        struct mapping *old = &domain->mappings[i];

        if (old->iova == iova && old->size == size && old->offset == new.offset &&
            old->protection == protection) {
            old->count++;
            return 0;
        }
        if (iova < old->iova + old->size && old->iova < iova + size)
            return -EEXIST;
    }
    if (domain->count == MAPPINGS)
        return -ENOSPC;
    sim_trace("maps %llu bytes at 0x%llx", size, iova, 0, 0);
    domain->mappings[domain->count++] = new;
    return 0;
}

int chalk_dma_unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    sim_point();
    for (unsigned i = 0; i < domain->count; i++) {
        struct mapping *old = &domain->mappings[i];

        if (old->iova != iova || old->size != size)
            continue;
        sim_trace("unmaps %llu bytes at 0x%llx", size, iova, 0, 0);
        if (--old->count == 0)
            *old = domain->mappings[--domain->count];
        return 0;
    }
    return -ENOENT;
}

_Static_assert(REACH_READ == (int)CHALK_DEVICE_READS && REACH_WRITE == (int)CHALK_DEVICE_WRITES,
               "one set of flags");

char *platform_reach(uint64_t address, size_t *size, unsigned reach)
{
    for (unsigned i = 0; i < the_domain.count; i++) {
        const struct mapping *mapping = &the_domain.mappings[i];

        if (address - mapping->iova >= mapping->size || (mapping->protection & reach) != reach)
            continue;
        if (*size > mapping->size - (address - mapping->iova))
            *size = mapping->size - (address - mapping->iova);
        return (char *)MIRROR + mapping->offset + (address - mapping->iova);
    }
    return NULL;
}

/* ---- time, console, end ---- */

const struct chalk_clock *chalk_clock_info(void)
{
    static const struct chalk_clock clock = {
        .hertz = 1000000000, .ns_mult = 1ull << 32, .ticks_mult = 1ull << 32};

    return &clock;
}

bool chalk_exit_requested(void)
{
    return false;
}

void chalk_exit(int status)
{
    sim_fail("the program ended itself, with status %d", status);
}
