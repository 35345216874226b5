/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every grant that there is, and in the instrumented build the check that a driver does not step outside of
 * them. Hosted the IOMMU checks as well; on bare metal a wrong address would just be written to.
 */
#include "grants.h"
#include "claims.h"
#include <chalk/log.h>

static struct chalk_grant *grants;

void chalk_grant_add(struct chalk_grant *grant)
{
    chalk_claims_lock();
    grant->next = grants;
    grants = grant;
    chalk_claims_unlock();
}

void chalk_grant_remove(struct chalk_grant *grant)
{
    struct chalk_grant **link = &grants;

    chalk_claims_lock();
    while (*link && *link != grant)
        link = &(*link)->next;
    if (*link)
        *link = grant->next;
    chalk_claims_unlock();
}

#ifdef CHALK_INSTRUMENTED

const struct chalk_grant *chalk_grant_find(const struct chalk_domain *domain, uint64_t iova, size_t size)
{
    const struct chalk_grant *grant;

    chalk_claims_lock();
    for (grant = grants; grant; grant = grant->next)
        if (grant->domain == domain && iova >= grant->iova && iova - grant->iova <= grant->size &&
            size <= grant->size - (iova - grant->iova))
            break;
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
