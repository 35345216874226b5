/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a domain's devices may touch: its mappings, by iova. The kernel keeps them too, but cannot count how
 * often the same was mapped, and answers every mistake with EINVAL.
 */
#include "memory.h"
#include "state.h"
#include "vfio.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <chalk/log.h>
#include <chalk/memory.h>

/* The first mapping that ends above `iova`. */
static size_t find(const struct chalk_domain *domain, uint64_t iova)
{
    size_t low = 0, high = domain->mapping_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct mapping *mapping = &domain->mappings[middle];

        if (mapping->iova + (mapping->size - 1) < iova)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct mapping *find_exactly(const struct chalk_domain *domain, uint64_t iova, size_t size)
{
    size_t at = find(domain, iova);
    struct mapping *mapping = &domain->mappings[at];

    return at < domain->mapping_count && mapping->iova == iova && mapping->size == size ? mapping : NULL;
}

static int check_ranges(const struct chalk_domain *domain, uint64_t iova, size_t size)
{
    char text[256] = "";
    int length = 0;

    for (unsigned i = 0; i < domain->range_count; i++) {
        const struct range *range = &domain->ranges[i];

        if (iova >= range->first && iova + (size - 1) <= range->last)
            return 0;
        if (length < (int)sizeof text - 48)
            length += snprintf(text + length, sizeof text - (size_t)length, " 0x%llx-0x%llx",
                               (unsigned long long)range->first, (unsigned long long)range->last);
    }
    chalk_log(CHALK_ERROR,
              "%s cannot reach memory at device addresses 0x%llx-0x%llx: its IOMMU translates only%s",
              domain->name, (unsigned long long)iova, (unsigned long long)(iova + (size - 1)), text);
    return -ERANGE;
}

/* ---- the limit of locked memory ---- */

/* What Linux has charged this process for so far, for every container on its own, in bytes; UINT64_MAX if it
 * need not pay. */
static uint64_t locked_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    unsigned long long kib = 0, capabilities = 0, value;
    char line[128];

    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmLck: %llu", &value) == 1)
            kib = value;
        else if (sscanf(line, "CapEff: %llx", &value) == 1)
            capabilities = value;
    }
    fclose(file);
    return (capabilities & (1ull << 14 /* CAP_IPC_LOCK */)) != 0 ? UINT64_MAX : kib * 1024;
}

static int out_of_memory(const struct chalk_domain *domain, size_t size)
{
    uint64_t needed = locked_bytes();
    struct rlimit limit;

    if (needed == UINT64_MAX || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || needed + size <= limit.rlim_cur) {
        chalk_log(CHALK_ERROR, "%s: Linux has no memory left to map %zu KiB for it", domain->name,
                  size / 1024);
        return -ENOMEM;
    }
    needed += size;
    if (needed <= limit.rlim_max)
        chalk_log(CHALK_ERROR,
                  "%s: mapping %zu KiB takes %llu bytes of locked memory in all (each domain is charged), "
                  "and "
                  "RLIMIT_MEMLOCK is %llu;\n  before starting: ulimit -l %llu",
                  domain->name, size / 1024, (unsigned long long)needed, (unsigned long long)limit.rlim_cur,
                  (unsigned long long)(needed + 1023) / 1024);
    else
        chalk_log(CHALK_ERROR,
                  "%s: mapping %zu KiB takes %llu bytes of locked memory in all (each domain is charged), "
                  "and "
                  "RLIMIT_MEMLOCK is %llu;\n  before starting, in the same shell: sudo prlimit --pid $$ "
                  "--memlock=%llu",
                  domain->name, size / 1024, (unsigned long long)needed, (unsigned long long)limit.rlim_cur,
                  (unsigned long long)needed);
    return -ENOMEM;
}

/* ---- map ---- */

static int tell_kernel(const struct chalk_domain *domain, const struct mapping *mapping)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof map,
        .flags = ((mapping->protection & CHALK_DEVICE_READS) != 0 ? VFIO_DMA_MAP_FLAG_READ : 0u) |
                 ((mapping->protection & CHALK_DEVICE_WRITES) != 0 ? VFIO_DMA_MAP_FLAG_WRITE : 0u),
        .vaddr = (uintptr_t)mapping->va,
        .iova = mapping->iova,
        .size = mapping->size,
    };

    if (ioctl(domain->fd, VFIO_IOMMU_MAP_DMA, &map) == 0)
        return 0;
    switch (errno) {
    case ENOMEM:
        return out_of_memory(domain, mapping->size);
    case ENOSPC:
        chalk_log(CHALK_ERROR,
                  "%s: all %zu mappings that VFIO allows a domain are in use: map larger pieces; or root "
                  "allows more with:\n"
                  "  echo %zu > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
                  domain->name, domain->mapping_count, 4 * (domain->mapping_count + 1));
        return -ENOSPC;
    default:
        chalk_log(CHALK_ERROR, "%s: %zu KiB cannot be mapped at device address 0x%llx: %s", domain->name,
                  mapping->size / 1024, (unsigned long long)mapping->iova, strerror(errno));
        return -errno;
    }
}

static int insert(struct chalk_domain *domain, size_t at, const struct mapping *mapping)
{
    int error;

    if (domain->mapping_count == domain->mapping_room) {
        size_t room = domain->mapping_room != 0 ? 2 * domain->mapping_room : 16;
        struct mapping *grown = realloc(domain->mappings, room * sizeof *grown);

        if (grown == NULL)
            return -ENOMEM;
        domain->mappings = grown;
        domain->mapping_room = room;
    }
    error = tell_kernel(domain, mapping);
    if (error != 0)
        return error;
    memmove(domain->mappings + at + 1, domain->mappings + at, (domain->mapping_count - at) * sizeof *mapping);
    domain->mappings[at] = *mapping;
    domain->mapping_count++;
    return 0;
}

static int map(struct chalk_domain *domain, const struct mapping *wanted)
{
    size_t at = find(domain, wanted->iova);
    struct mapping *there = &domain->mappings[at];
    int error;

    if (!hosted_memory_owned(wanted->va, wanted->size))
        return -EINVAL;
    if (at < domain->mapping_count && there->iova <= wanted->iova + (wanted->size - 1)) {
        if (there->iova != wanted->iova || there->size != wanted->size || there->va != wanted->va ||
            there->protection != wanted->protection)
            return -EEXIST;
        there->count++;
        return 0;
    }
    error = check_ranges(domain, wanted->iova, wanted->size);
    return error != 0 ? error : insert(domain, at, wanted);
}

int chalk_dma_map(struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection)
{
    struct mapping wanted = {.iova = iova, .size = size, .va = va, .protection = protection, .count = 1};
    int error;

    if (size == 0 || ((uintptr_t)va | size | iova) % CHALK_PAGE != 0 || iova + (size - 1) < iova ||
        protection == 0 || (protection & ~(unsigned)(CHALK_DEVICE_READS | CHALK_DEVICE_WRITES)) != 0)
        return -EINVAL;
    hosted_lock();
    error = map(domain, &wanted);
    hosted_unlock();
    return error;
}

/* ---- unmap ---- */

static int unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    struct vfio_iommu_type1_dma_unmap unmapped = {.argsz = sizeof unmapped, .iova = iova, .size = size};
    struct mapping *mapping = find_exactly(domain, iova, size);
    size_t at;

    if (mapping == NULL)
        return -ENOENT;
    if (--mapping->count > 0)
        return 0;
    /* Returns after the IOTLB was flushed and the pages were unpinned. */
    if (ioctl(domain->fd, VFIO_IOMMU_UNMAP_DMA, &unmapped) != 0 || unmapped.size != size) {
        chalk_log(CHALK_ERROR, "%s: Linux does not unmap device address 0x%llx: %s", domain->name,
                  (unsigned long long)iova, strerror(errno));
        mapping->count++;
        return -EIO;
    }
    at = (size_t)(mapping - domain->mappings);
    memmove(mapping, mapping + 1, (domain->mapping_count - at - 1) * sizeof *mapping);
    domain->mapping_count--;
    return 0;
}

int chalk_dma_unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    int error;

    hosted_lock();
    error = unmap(domain, iova, size);
    hosted_unlock();
    return error;
}

/* The kernel drops its own with the container's last group. */
void hosted_mappings_drop(struct chalk_domain *domain)
{
    free(domain->mappings);
    domain->mappings = NULL;
    domain->mapping_count = domain->mapping_room = 0;
}
