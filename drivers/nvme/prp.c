/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PRP lists, from scatter segments to page addresses. Pure: what it writes depends on its arguments alone.
 */
#include "prp.h"

int chalk_nvme_prp_list(const struct chalk_dma *segments, unsigned count, uint64_t bytes, uint64_t page,
                        uint64_t *list, uint64_t list_iova, struct nvme_prp *prp)
{
    uint64_t offset_mask = page - 1, left = bytes, second = 0;
    uint64_t *next = list;

    if (count == 0 || (segments[0].iova & 3) != 0)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        uint64_t address = segments[i].iova, size = segments[i].size;

        if (size == 0 || size > left)
            return -EINVAL;
        if (i != 0 && (address & offset_mask) != 0)
            return -EINVAL;
        if (i + 1 != count && ((address + size) & offset_mask) != 0)
            return -EINVAL;
        left -= size;

        if (i == 0) {
            uint64_t in_first = page - (address & offset_mask);

            prp->prp1 = address;
            if (size <= in_first)
                continue;
            address += in_first;
            size -= in_first;
        }
        if (next == list)
            second = address; /* kept: the list is memory that a device can write */
        for (; size > page; size -= page, address += page)
            *next++ = address;
        *next++ = address;
    }
    if (left != 0)
        return -EINVAL;
    prp->prp2 = next - list > 1 ? list_iova : second;
    return 0;
}
