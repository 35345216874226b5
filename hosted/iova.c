/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses for devices: a map of what is taken, and another one of the holes, in which no memory can be. A
 * hole may lie over spans that were there before it was known. There are some dozen holes at most, so they
 * are not looked for by their size: a place that lies in one is tried again below it.
 */
#include "iova.h"

#include <errno.h>
#include <stdlib.h>

#include <chalk/range.h>

static struct chalk_ranges taken, holes;

/* Everything that some processor's IOMMU could express; beyond it nothing is handed out. */
#define LAST_ADDRESS ((UINT64_C(1) << 52) - 1)

static int add(struct chalk_ranges *ranges, uint64_t first, uint64_t last)
{
    struct chalk_range *range = calloc(1, sizeof *range);

    if (range == NULL)
        return -ENOMEM;
    range->first = first;
    range->last = last;
    chalk_range_add(ranges, range);
    return 0;
}

/* Holes that overlap become one. */
int hosted_iova_exclude(uint64_t first, uint64_t last)
{
    struct chalk_range *range = chalk_range_find(&holes, first, last), *next;

    if (range == NULL)
        return add(&holes, first, last);
    chalk_range_remove(&holes, range);
    range->first = range->first < first ? range->first : first;
    range->last = range->last > last ? range->last : last;
    while ((next = chalk_range_find(&holes, range->first, range->last)) != NULL) {
        chalk_range_remove(&holes, next);
        range->last = range->last > next->last ? range->last : next->last;
        free(next);
    }
    chalk_range_add(&holes, range);
    return 0;
}

void hosted_iova_start(void)
{
    /*
     * Address 0 means "no buffer" to many devices, and nothing good lives below 1 MiB. Writes to
     * 0xfee00000-0xfeefffff are interrupts, never memory, whatever the IOMMU maps there (SDM vol. 3, 11.11.1;
     * VT-d, "Handling Requests to Interrupt Address Range").
     */
    hosted_iova_exclude(0, 0xfffff);
    hosted_iova_exclude(0xfee00000, 0xfeefffff);
}

static void forget(struct chalk_ranges *ranges)
{
    struct chalk_range *range;

    while ((range = ranges->root) != NULL) {
        chalk_range_remove(ranges, range);
        free(range);
    }
}

void hosted_iova_stop(void)
{
    forget(&taken);
    forget(&holes);
}

int hosted_iova_take(uint64_t size, uint64_t align, uint64_t max_address, uint64_t *iova)
{
    uint64_t top = max_address < LAST_ADDRESS ? max_address : LAST_ADDRESS; /* all of it lies at or below */
    const struct chalk_range *hole;

    if (size == 0)
        return -EINVAL;
    while (chalk_range_gap(&taken, 0, top, size, align, CHALK_RANGE_HIGHEST, iova)) {
        hole = chalk_range_find(&holes, *iova, *iova + (size - 1));
        if (hole == NULL)
            return add(&taken, *iova, *iova + (size - 1));
        if (hole->first == 0)
            break;
        top = hole->first - 1;
    }
    return -ERANGE;
}

void hosted_iova_put(uint64_t iova, uint64_t size)
{
    struct chalk_range *range = chalk_range_find(&taken, iova, iova + (size - 1));

    if (range == NULL || range->first != iova || range->last != iova + (size - 1))
        return;
    chalk_range_remove(&taken, range);
    free(range);
}
