/* SPDX-License-Identifier: BSD-2-Clause */
/* What was shared with whom. */
#ifndef CHALK_MEMORY_GRANTS_H
#define CHALK_MEMORY_GRANTS_H

#include <chalk/memory.h>

/* The record lies in memory of its owner, and is all zeros when it is not in use. */
struct chalk_grant {
    struct chalk_grant *next;
    const struct chalk_domain *domain;
    uint64_t iova;
    size_t size;
    unsigned count; /* how often it was shared */
};

void chalk_grant_add(struct chalk_grant *grant);
void chalk_grant_remove(struct chalk_grant *grant);

#endif
