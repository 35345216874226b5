/* SPDX-License-Identifier: BSD-2-Clause */
/* What was shared with whom. */
#ifndef CHALK_MEMORY_GRANTS_H
#define CHALK_MEMORY_GRANTS_H

#include <chalk/arena.h>

/* The arena has one grant more; or one less, which becomes a record that is not in use. */
void chalk_grants_come(struct chalk_arena *arena);
void chalk_grants_go(struct chalk_arena *arena, struct chalk_grant *grant);

/* "reading", "writing" or both, for messages. */
static inline const char *chalk_protection_name(unsigned protection)
{
    static const char *const names[] = {"nothing", "reading only", "writing only", "reading and writing"};

    return names[protection & 3];
}

/* The grant by which `domain` reaches all of these bytes, in whatever way, or NULL. */
const struct chalk_grant *chalk_grant_find(const struct chalk_domain *domain, uint64_t iova, size_t size);

#endif
