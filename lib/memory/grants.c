/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every arena that is shared, by its addresses for devices, and in the instrumented build the check that a
 * driver does not step outside of what is granted. Hosted the IOMMU checks as well; on bare metal a wrong
 * address would just be written to.
 */
#include "grants.h"
#include "claims.h"
#include <chalk/error.h>
#include <chalk/log.h>

static struct chalk_ranges arenas;

void chalk_grants_come(struct chalk_arena *arena)
{
    if (arena->grant_count++ != 0)
        return;
    arena->iovas.first = arena->claim.iova;
    arena->iovas.last = arena->claim.iova + (arena->claim.size - 1);
    chalk_claims_lock();
    chalk_assert(chalk_range_add(&arenas, &arena->iovas)); /* else two spans have the same addresses */
    chalk_claims_unlock();
}

void chalk_grants_go(struct chalk_arena *arena, struct chalk_grant *grant)
{
    chalk_claims_lock();
    *grant = (struct chalk_grant){0};
    if (--arena->grant_count == 0)
        chalk_range_remove(&arenas, &arena->iovas);
    chalk_claims_unlock();
}

#ifdef CHALK_INSTRUMENTED

static bool holds(const struct chalk_grant *grant, uint64_t iova, size_t size)
{
    return iova >= grant->iova && iova - grant->iova <= grant->size &&
           size <= grant->size - (iova - grant->iova);
}

const struct chalk_grant *chalk_grant_find(const struct chalk_domain *domain, uint64_t iova, size_t size)
{
    const struct chalk_grant *grant = NULL;
    const struct chalk_range *range;

    chalk_claims_lock();
    range = chalk_range_find(&arenas, iova, iova);
    if (range) {
        const struct chalk_arena *arena =
            (const void *)((const char *)range - offsetof(struct chalk_arena, iovas));

        for (unsigned i = 0; i < CHALK_ARENA_DOMAINS && !grant; i++)
            if (arena->grants[i].domain == domain && holds(&arena->grants[i], iova, size))
                grant = &arena->grants[i];
    }
    chalk_claims_unlock();
    return grant;
}

void chalk_grant_check(const struct chalk_domain *domain, uint64_t iova, size_t size)
{
    const struct chalk_grant *grant = chalk_grant_find(domain, iova, size);

    if (grant && grant->protection == (CHALK_DEVICE_READS | CHALK_DEVICE_WRITES))
        return;
    if (grant)
        chalk_log(CHALK_ERROR, "a driver gave a device %zu bytes at 0x%llx, which its domain has for %s",
                  size, (unsigned long long)iova, chalk_protection_name(grant->protection));
    else
        chalk_log(CHALK_ERROR,
                  "a driver gave a device %zu bytes at 0x%llx, which were never shared with its domain", size,
                  (unsigned long long)iova);
    chalk_exit(134); /* as a failed assertion */
}

#endif
