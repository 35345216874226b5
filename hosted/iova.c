/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses for devices: an array of what is not free. There are as many entries as spans and holes, a few
 * dozen, and set-up alone comes here, so a walk is fast enough.
 */
#include "iova.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* In no order. Spans are disjoint; a hole may lie over spans that were there before it was known. */
struct range {
    uint64_t first, last;
    bool hole;
};

static struct range *ranges;
static size_t range_count, range_room;

/* Everything that some processor's IOMMU could express; beyond it nothing is handed out. */
#define LAST_ADDRESS ((UINT64_C(1) << 52) - 1)

static int add(uint64_t first, uint64_t last, bool hole)
{
    if (range_count == range_room) {
        size_t room = range_room != 0 ? 2 * range_room : 16;
        struct range *grown = realloc(ranges, room * sizeof *grown);

        if (grown == NULL)
            return -ENOMEM;
        ranges = grown;
        range_room = room;
    }
    ranges[range_count++] = (struct range){first, last, hole};
    return 0;
}

int hosted_iova_exclude(uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < range_count; i++)
        if (ranges[i].hole && ranges[i].first <= first && last <= ranges[i].last)
            return 0;
    return add(first, last, true);
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

void hosted_iova_stop(void)
{
    free(ranges);
    ranges = NULL;
    range_count = range_room = 0;
}

static const struct range *in_the_way(uint64_t first, uint64_t last)
{
    for (size_t i = 0; i < range_count; i++)
        if (ranges[i].first <= last && first <= ranges[i].last)
            return &ranges[i];
    return NULL;
}

int hosted_iova_take(uint64_t size, uint64_t align, uint64_t max_address, uint64_t *iova)
{
    uint64_t top = max_address < LAST_ADDRESS ? max_address : LAST_ADDRESS; /* all of it lies at or below */
    const struct range *other;

    if (size == 0)
        return -EINVAL;
    for (;;) {
        if (size - 1 > top)
            return -ERANGE;
        *iova = (top - (size - 1)) & ~(align - 1);
        other = in_the_way(*iova, *iova + (size - 1));
        if (other == NULL)
            return add(*iova, *iova + (size - 1), false);
        if (other->first == 0)
            return -ERANGE;
        top = other->first - 1;
    }
}

void hosted_iova_put(uint64_t iova, uint64_t size)
{
    for (size_t i = 0; i < range_count; i++)
        if (!ranges[i].hole && ranges[i].first == iova && ranges[i].last == iova + (size - 1)) {
            ranges[i] = ranges[--range_count];
            return;
        }
}
