/* SPDX-License-Identifier: BSD-2-Clause */
/* Mappings of a container: Linux pins the memory, charges the process for it, and fills the IOMMU's tables.
 */
#include "../reason.h"
#include "vfio.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <chalk/log.h>

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

/* ---- map and unmap ---- */

int hosted_container_map(struct chalk_domain *domain, const struct mapping *mapping)
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
    case EFAULT:
        chalk_log(
            CHALK_ERROR,
            "%s: Linux does not let the device into %zu KiB at %p: they are mapped read-only, beyond the end "
            "of their file, or of a file on a disk; use a memfd, or a file on tmpfs or hugetlbfs",
            domain->name, mapping->size / 1024, mapping->va);
        return -EFAULT;
    default:
        chalk_log(CHALK_ERROR, "%s: %zu KiB cannot be mapped at device address 0x%llx: %s", domain->name,
                  mapping->size / 1024, (unsigned long long)mapping->iova, hosted_reason(errno));
        return -errno;
    }
}

/* Returns after the IOTLB was flushed and the pages were unpinned. */
int hosted_container_unmap(struct chalk_domain *domain, const struct mapping *mapping)
{
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof unmap, .iova = mapping->iova, .size = mapping->size};

    if (ioctl(domain->fd, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0 && unmap.size == mapping->size)
        return 0;
    chalk_log(CHALK_ERROR, "%s: Linux does not unmap device address 0x%llx: %s", domain->name,
              (unsigned long long)mapping->iova, hosted_reason(errno));
    return -EIO;
}
