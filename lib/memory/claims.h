/* SPDX-License-Identifier: BSD-2-Clause */
/* Which parts of the platform's spans are taken, and by whom. */
#ifndef CHALK_MEMORY_CLAIMS_H
#define CHALK_MEMORY_CLAIMS_H

#include <chalk/memory.h>

/* The record of a piece of a span. It lies in memory of its owner, for as long as that has the piece. */
struct chalk_claim {
    struct chalk_claim *next;
    char *va;
    size_t size;
    uint64_t iova;
};

/*
 * Takes `size` bytes (whole pages) on NUMA node `node` (-1: any) whose iovas do not exceed `max_address`,
 * from a span that is there or one that is grown. The record is kept in `record` or, when that is NULL, in
 * the first bytes of what was taken; *claim is where. Errors: as chalk_span_grow().
 */
int chalk_claim_take(size_t size, int node, uint64_t max_address, struct chalk_claim *record,
                     struct chalk_claim **claim);

/* Gives it back; a later claim may have it at once. */
void chalk_claim_release(struct chalk_claim *claim);

/* The lock of claims, for others whose work is as rare: see grants.c. */
void chalk_claims_lock(void);
void chalk_claims_unlock(void);

#endif
