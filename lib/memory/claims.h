/* SPDX-License-Identifier: BSD-2-Clause */
/* Claims, as the rest of this folder uses them. */
#ifndef CHALK_MEMORY_CLAIMS_H
#define CHALK_MEMORY_CLAIMS_H

#include <chalk/claim.h>

/* As chalk_claim_memory(), with the record in the first bytes of what was claimed; *claim is where. */
int chalk_claim_inside(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim **claim);

/* As chalk_claim_memory(), of memory that devices reach: apart from what is private. */
int chalk_claim_for_devices(size_t size, unsigned node, uint64_t max_address, const char *owner,
                            struct chalk_claim *claim);

/* As chalk_claim_range(), of memory that devices reach. */
int chalk_claim_range_for_devices(void *va, size_t size, const char *owner, struct chalk_claim *claim);

/* As chalk_claim_span(), of RAM, with the record in its first bytes. -EINVAL (not RAM). */
int chalk_claim_span_inside(unsigned i, const char *owner, struct chalk_claim **claim);

/* Whole pages, or 0 when there are more than a struct chalk_pages rules. */
static inline size_t chalk_page_count(size_t size)
{
    return size > (size_t)UINT32_MAX * CHALK_PAGE ? 0 : (size + CHALK_PAGE - 1) / CHALK_PAGE;
}

/*
 * Ends the program, which made a mistake: "OWNER WHAT SIZE bytes at VA", `why`, and whose they are if another
 * owner has them.
 */
__attribute__((noreturn)) void chalk_claim_blame(const char *owner, const char *what, const void *va,
                                                 size_t size, const char *why);

/* Debug builds: what begins and ends in memory that is claimed. */
#ifdef CHALK_DEBUG
void chalk_tenant_add(struct chalk_tenant *tenant, const char *what, const char *name, const void *va,
                      size_t size);
void chalk_tenant_remove(struct chalk_tenant *tenant);
#else
static inline void chalk_tenant_add(struct chalk_tenant *tenant, const char *what, const char *name,
                                    const void *va, size_t size)
{
    (void)tenant, (void)what, (void)name, (void)va, (void)size;
}
static inline void chalk_tenant_remove(struct chalk_tenant *tenant)
{
    (void)tenant;
}
#endif

/* The lock of claims, for others whose work is as rare: see grants.c. */
void chalk_claims_lock(void);
void chalk_claims_unlock(void);

#endif
