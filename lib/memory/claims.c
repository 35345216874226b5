/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spans are the program's for good; claims on them come and go. First fit: a list of claims is all there is,
 * and a free piece is what no claim overlaps. Claims are made at set-up, so simple beats fast.
 */
#include "claims.h"
#include <chalk/clock.h>
#include <chalk/error.h>
#include <stdatomic.h>

/* Where pages are large, a piece starts on a multiple of 2 MiB, so that an IOMMU can map it in large pages.
 */
#define LARGE ((size_t)2 << 20)

static struct chalk_claim *claims;
static atomic_flag lock = ATOMIC_FLAG_INIT;

void chalk_claims_lock(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        chalk_pause();
}

void chalk_claims_unlock(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

/* The claim that overlaps these bytes, or NULL. */
static const struct chalk_claim *overlapped(const char *va, size_t size)
{
    for (const struct chalk_claim *claim = claims; claim; claim = claim->next)
        if (va < claim->va + claim->size && claim->va < va + size)
            return claim;
    return NULL;
}

/* The first free `size` bytes of a span, all of them at or below max_address. */
static bool find_in_span(const struct chalk_span *span, size_t size, uint64_t max_address, size_t *offset)
{
    size_t align = span->page > LARGE ? LARGE : span->page;
    size_t end = span->size;
    const struct chalk_claim *claim;

    if (span->iova > max_address)
        return false;
    if (max_address - span->iova < end)
        end = (size_t)(max_address - span->iova) + 1;
    if (size < align)
        align = CHALK_PAGE;
    for (*offset = 0; *offset < end && size <= end - *offset;) {
        claim = overlapped((char *)span->va + *offset, size);
        if (!claim)
            return true;
        size_t behind = (size_t)(claim->va + claim->size - (char *)span->va);
        *offset = (behind + align - 1) & ~(align - 1);
    }
    return false;
}

static int find(size_t size, int node, uint64_t max_address, struct chalk_claim *claim)
{
    struct chalk_span span;
    size_t offset = 0;
    bool found = false;
    int error;

    for (unsigned i = 0; !found && chalk_span_get(i, &span) == 0; i++)
        found = span.kind == CHALK_SPAN_RAM && (node < 0 || span.node < 0 || span.node == node) &&
                find_in_span(&span, size, max_address, &offset);
    if (!found) {
        error = chalk_span_grow(size, 0, node, max_address, &span);
        if (error)
            return error;
        offset = 0;
    }
    claim->va = (char *)span.va + offset;
    claim->size = size;
    claim->iova = span.iova + offset;
    return 0;
}

int chalk_claim_take(size_t size, int node, uint64_t max_address, struct chalk_claim *record,
                     struct chalk_claim **claim)
{
    struct chalk_claim found;
    int error;

    chalk_claims_lock();
    error = find(size, node, max_address, &found);
    if (!error) {
        if (!record)
            record = (struct chalk_claim *)(void *)found.va;
        found.next = claims;
        *record = found;
        claims = record;
        *claim = record;
    }
    chalk_claims_unlock();
    return error;
}

void chalk_claim_release(struct chalk_claim *claim)
{
    struct chalk_claim **link = &claims;

    chalk_claims_lock();
    while (*link && *link != claim)
        link = &(*link)->next;
    if (*link)
        *link = claim->next;
    chalk_claims_unlock();
}
