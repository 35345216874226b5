/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one allocator of addresses for devices: a span has the same iova in every domain, so addresses are
 * handed out for the process, not for a domain. All calls under hosted_lock(), or before there are others.
 */
#ifndef HOSTED_IOVA_H
#define HOSTED_IOVA_H

#include <stddef.h>
#include <stdint.h>

/* The highest address that is handed out to who does not care: 39 bits, the least that any VT-d second-level
 * table has. */
#define HOSTED_IOVA_EASY ((UINT64_C(1) << 39) - 1)

void hosted_iova_start(void);
void hosted_iova_stop(void);

/*
 * Takes `size` bytes, aligned to `align` (a power of two), all at or below `max_address`; as high as
 * possible, so that low addresses remain for devices that have nothing else. Errors: -ERANGE (none free),
 * -ENOMEM.
 */
int hosted_iova_take(uint64_t size, uint64_t align, uint64_t max_address, uint64_t *iova);

void hosted_iova_put(uint64_t iova, uint64_t size);

/* Never hands out `first` to `last` from now on; what is taken already stays taken. Errors: -ENOMEM. */
int hosted_iova_exclude(uint64_t first, uint64_t last);

#endif
