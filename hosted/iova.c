/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses for devices: a sorted array of what is not free. There are as many entries as spans and holes, a
 * few dozen, and set-up alone comes here, so a walk is fast enough.
 */
#include "iova.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct range {
    uint64_t first, last;
};

/* Sorted and disjoint. */
static struct range *taken;
static size_t taken_count, taken_room;

/* Everything that some processor's IOMMU could express; beyond it nothing is handed out. */
#define LAST_ADDRESS ((UINT64_C(1) << 52) - 1)

static int insert(size_t at, uint64_t first, uint64_t last)
{
    if (taken_count == taken_room) {
        size_t room = taken_room != 0 ? 2 * taken_room : 16;
        struct range *grown = realloc(taken, room * sizeof *grown);

        if (grown == NULL)
            return -ENOMEM;
        taken = grown;
        taken_room = room;
    }
    memmove(taken + at + 1, taken + at, (taken_count - at) * sizeof *taken);
    taken[at] = (struct range){first, last};
    taken_count++;
    return 0;
}

int hosted_iova_exclude(uint64_t first, uint64_t last)
{
    size_t i = 0;

    /* What is taken splits the excluded range; only the pieces between are inserted. */
    while (first <= last) {
        uint64_t end = last;
        int error;

        while (i < taken_count && taken[i].last < first)
            i++;
        if (i < taken_count && taken[i].first <= first) {
            if (taken[i].last >= last)
                return 0;
            first = taken[i].last + 1;
            continue;
        }
        if (i < taken_count && taken[i].first <= last)
            end = taken[i].first - 1;
        error = insert(i, first, end);
        if (error != 0)
            return error;
        if (end == last)
            return 0;
        first = end + 1;
    }
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

void hosted_iova_stop(void)
{
    free(taken);
    taken = NULL;
    taken_count = taken_room = 0;
}

int hosted_iova_take(uint64_t size, uint64_t align, uint64_t max_address, uint64_t *iova)
{
    uint64_t top =
        max_address < LAST_ADDRESS ? max_address : LAST_ADDRESS; /* the last free address of a gap */

    if (size == 0)
        return -EINVAL;
    for (size_t i = taken_count; i-- > 0;) {
        if (taken[i].last < top && top - taken[i].last >= size) {
            uint64_t candidate = (top + 1 - size) & ~(align - 1);

            if (candidate > taken[i].last) {
                *iova = candidate;
                return insert(i + 1, candidate, candidate + size - 1);
            }
        }
        if (taken[i].first == 0)
            break;
        if (taken[i].first <= top)
            top = taken[i].first - 1;
    }
    return -ERANGE;
}

void hosted_iova_put(uint64_t iova, uint64_t size)
{
    for (size_t i = 0; i < taken_count; i++)
        if (taken[i].first == iova && taken[i].last == iova + size - 1) {
            memmove(taken + i, taken + i + 1, (taken_count - i - 1) * sizeof *taken);
            taken_count--;
            return;
        }
}
