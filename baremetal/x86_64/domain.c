/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Domains of a machine whose IOMMU is not used: every device reaches all of memory, at its physical address.
 * Each mapping is recorded and held to the contract all the same, so that a program that maps too little,
 * twice or wrongly fails here as it would fail where an IOMMU enforces it. So does one that maps more pieces
 * than Linux allows in a container (dma_entry_limit of vfio_iommu_type1: 65535).
 *
 * A domain has its mappings in a map by address. The records of domains and mappings come from a static
 * array, and from claimed pages when that is used up. Such a page stays claimed: its records are used again.
 */
#include "machine.h"
#include "pci.h"

#include <chalk/claim.h>
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/range.h>

enum { MAX_MAPPINGS = 65535, STATIC_RECORDS = 256 };

struct chalk_domain {
    unsigned devices;
    unsigned mapping_count;
    struct chalk_ranges mappings;
};

struct mapping {
    struct chalk_range range; /* of device addresses; first, so that one is found by the other */
    unsigned protection;
    unsigned count; /* how often it was mapped */
};

union record {
    union record *next; /* while it is unused */
    struct chalk_domain domain;
    struct mapping mapping;
};

/* A claimed page. Its claim is recorded in the page before it, as a claim's record stays where it is. */
struct page {
    struct chalk_claim claim_of_next;
    union record records[(CHALK_PAGE - sizeof(struct chalk_claim)) / sizeof(union record)];
};
_Static_assert(sizeof(struct page) <= CHALK_PAGE, "records fit a page");

static union record static_records[STATIC_RECORDS];
static unsigned static_used;
static union record *unused;
static struct chalk_claim claim_of_first, *next_claim = &claim_of_first;
static struct chalk_lock lock;

/* ---- records, under the lock ---- */

static void record_put(union record *record)
{
    record->next = unused;
    unused = record;
}

static bool add_page(void)
{
    struct page *page;

    if (chalk_claim_memory(CHALK_PAGE, 0, UINT64_MAX, "domains", next_claim) != 0)
        return false;
    next_claim->lasts = true;
    page = (struct page *)(void *)next_claim->va;
    next_claim = &page->claim_of_next;
    for (unsigned i = 0; i < sizeof page->records / sizeof page->records[0]; i++)
        record_put(&page->records[i]);
    return true;
}

/* NULL: there is no memory (logged). */
static union record *record_get(void)
{
    union record *record = unused;

    if (record == NULL && static_used < STATIC_RECORDS)
        return &static_records[static_used++];
    if (record == NULL && add_page())
        record = unused;
    if (record != NULL)
        unused = record->next;
    return record;
}

/* ---- domains ---- */

struct chalk_domain *domain_join(struct chalk_domain *domain)
{
    union record *record;

    chalk_lock_take(&lock);
    if (domain == NULL && (record = record_get()) != NULL) {
        domain = &record->domain;
        *domain = (struct chalk_domain){0};
    }
    if (domain != NULL)
        domain->devices++;
    chalk_lock_release(&lock);
    return domain;
}

static void remove_mapping(struct chalk_domain *domain, struct mapping *mapping)
{
    chalk_range_remove(&domain->mappings, &mapping->range);
    domain->mapping_count--;
    record_put((union record *)mapping);
}

void domain_leave(struct chalk_domain *domain)
{
    chalk_lock_take(&lock);
    if (--domain->devices == 0) {
        while (domain->mappings.root != NULL)
            remove_mapping(domain, (struct mapping *)domain->mappings.root);
        record_put((union record *)domain);
    }
    chalk_lock_release(&lock);
}

/* ---- mappings ---- */

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

/* The lowest mapping that overlaps these device addresses, or NULL. */
static struct mapping *mapping_at(const struct chalk_domain *domain, uint64_t iova, size_t size)
{
    return (struct mapping *)chalk_range_find(&domain->mappings, iova, iova + (size - 1));
}

static bool is_same(const struct mapping *mapping, uint64_t iova, size_t size)
{
    return mapping->range.first == iova && mapping->range.last == iova + (size - 1);
}

static int add(struct chalk_domain *domain, uint64_t iova, size_t size, unsigned protection)
{
    union record *record;

    if (domain->mapping_count == MAX_MAPPINGS)
        return -ENOSPC;
    record = record_get();
    if (record == NULL)
        return -ENOMEM;
    record->mapping = (struct mapping){{.first = iova, .last = iova + (size - 1)}, protection, 1};
    chalk_range_add(&domain->mappings, &record->mapping.range);
    domain->mapping_count++;
    return 0;
}

static int map(struct chalk_domain *domain, uint64_t iova, size_t size, unsigned protection)
{
    struct mapping *there = mapping_at(domain, iova, size);

    if (there == NULL)
        return add(domain, iova, size, protection);
    if (!is_same(there, iova, size) || there->protection != protection)
        return -EEXIST;
    there->count++;
    return 0;
}

static void check(const struct chalk_domain *domain, const char *call)
{
    chalk_assert(domain != NULL);
    if (domain->devices == 0)
        chalk_misuse("%s(): the domain has ended with its last device: unshare memory before you close that",
                     call);
}

int chalk_dma_map(struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection)
{
    int error;

    check(domain, "chalk_dma_map");
    if ((uintptr_t)va % CHALK_PAGE != 0 || size == 0 || size % CHALK_PAGE != 0 || iova % CHALK_PAGE != 0 ||
        protection == 0 || protection > (CHALK_DEVICE_READS | CHALK_DEVICE_WRITES))
        return -EINVAL;
    error = check_span((uintptr_t)va, size, iova);
    if (error != 0)
        return error;
    chalk_lock_take(&lock);
    error = map(domain, iova, size, protection);
    chalk_lock_release(&lock);
    if (error == -EEXIST)
        chalk_log(CHALK_ERROR, "dma: 0x%lx-0x%lx is mapped already, and not as the same piece; unmap that",
                  (unsigned long)iova, (unsigned long)(iova + size));
    else if (error == -ENOSPC)
        chalk_log(CHALK_ERROR, "dma: all %d mappings of the domain are in use; map fewer, larger pieces",
                  MAX_MAPPINGS);
    else if (error != 0)
        chalk_log(CHALK_ERROR, "dma: no memory for a record of the mapping; leave some unclaimed");
    return error;
}

int chalk_dma_unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    struct mapping *mapping = NULL;

    check(domain, "chalk_dma_unmap");
    chalk_lock_take(&lock);
    if (size != 0)
        mapping = mapping_at(domain, iova, size);
    if (mapping != NULL && !is_same(mapping, iova, size))
        mapping = NULL;
    if (mapping != NULL && --mapping->count == 0)
        remove_mapping(domain, mapping);
    chalk_lock_release(&lock);
    return mapping != NULL ? 0 : -ENOENT;
}
