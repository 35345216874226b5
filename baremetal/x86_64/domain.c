/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Domains of a machine whose IOMMU is not used: every device reaches all of memory, at its physical address.
 * What is mapped is written down and held to the contract all the same, so that a program that maps too
 * little, twice or wrongly fails here as it would fail where an IOMMU enforces it.
 */
#include "machine.h"
#include "pci.h"

#include <chalk/error.h>
#include <chalk/log.h>

enum { MAX_DOMAINS = 64, MAX_GRANTS = 1024, PAGE = 4096 };

struct chalk_domain {
    unsigned devices; /* 0: free */
};

struct grant {
    struct chalk_domain *domain; /* NULL: free */
    uint64_t iova;
    size_t size;
    unsigned protection;
    unsigned count; /* how often it was mapped */
};

static struct chalk_domain domains[MAX_DOMAINS];
static struct grant grants[MAX_GRANTS];
static struct lock lock = {ATOMIC_FLAG_INIT};

struct chalk_domain *domain_join(struct chalk_domain *domain)
{
    lock_take(&lock);
    for (unsigned i = 0; i < MAX_DOMAINS && domain == NULL; i++)
        if (domains[i].devices == 0)
            domain = &domains[i];
    if (domain != NULL)
        domain->devices++;
    lock_drop(&lock);
    return domain;
}

void domain_leave(struct chalk_domain *domain)
{
    lock_take(&lock);
    domain->devices--;
    for (unsigned i = 0; i < MAX_GRANTS && domain->devices == 0; i++)
        if (grants[i].domain == domain)
            grants[i].domain = NULL;
    lock_drop(&lock);
}

/* Whether the memory is all in one span, and `iova` what that span's devices see it at. */
static int check_span(uintptr_t va, size_t size, uint64_t iova)
{
    struct chalk_span span;

    for (unsigned i = 0; chalk_span_get(i, &span) == 0; i++) {
        uintptr_t start = (uintptr_t)span.va;

        if (va < start || va - start >= span.size || size > span.size - (va - start))
            continue;
        if (iova - span.iova == va - start)
            return 0;
        chalk_log(CHALK_ERROR,
                  "dma: memory at 0x%lx cannot be at 0x%lx for devices: without an IOMMU that is 0x%lx",
                  (unsigned long)va, (unsigned long)iova, (unsigned long)(span.iova + (va - start)));
        return -ERANGE;
    }
    chalk_log(CHALK_ERROR, "dma: %zu bytes at 0x%lx are in no span; map memory from chalk_dma_get()", size,
              (unsigned long)va);
    return -EINVAL;
}

int chalk_dma_map(struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection)
{
    struct grant *free = NULL;
    int error;

    chalk_assert(domain != NULL && domain->devices > 0);
    if ((uintptr_t)va % PAGE != 0 || size == 0 || size % PAGE != 0 || iova % PAGE != 0 || protection == 0 ||
        protection > (CHALK_DEVICE_READS | CHALK_DEVICE_WRITES))
        return -EINVAL;
    error = check_span((uintptr_t)va, size, iova);
    if (error != 0)
        return error;
    lock_take(&lock);
    for (unsigned i = 0; i < MAX_GRANTS; i++) {
        struct grant *grant = &grants[i];

        if (grant->domain == NULL && free == NULL)
            free = grant;
        if (grant->domain != domain || iova >= grant->iova + grant->size || grant->iova >= iova + size)
            continue;
        if (grant->iova == iova && grant->size == size && grant->protection == protection)
            grant->count++;
        else
            error = -EEXIST;
        lock_drop(&lock);
        if (error != 0)
            chalk_log(CHALK_ERROR,
                      "dma: 0x%lx-0x%lx is mapped already, and not as the same piece; unmap that",
                      (unsigned long)iova, (unsigned long)(iova + size));
        return error;
    }
    if (free != NULL)
        *free = (struct grant){domain, iova, size, protection, 1};
    lock_drop(&lock);
    if (free == NULL)
        chalk_log(CHALK_ERROR, "dma: all %d mappings are in use; map fewer, larger pieces", MAX_GRANTS);
    return free != NULL ? 0 : -ENOSPC;
}

int chalk_dma_unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    int result = -ENOENT;

    chalk_assert(domain != NULL && domain->devices > 0);
    lock_take(&lock);
    for (unsigned i = 0; i < MAX_GRANTS; i++) {
        struct grant *grant = &grants[i];

        if (grant->domain != domain || grant->iova != iova || grant->size != size)
            continue;
        if (--grant->count == 0)
            grant->domain = NULL;
        result = 0;
        break;
    }
    lock_drop(&lock);
    return result;
}
