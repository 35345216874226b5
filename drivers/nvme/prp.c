/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PRP lists, from scatter segments to page addresses. Pure: what it writes depends on its arguments alone.
 */
#include "prp.h"

int chalk_nvme_prp_list(const struct nvme_data *data, uint64_t page, uint64_t *list, uint64_t list_iova,
                        struct nvme_prp *prp)
{
    uint64_t offset_mask = page - 1, left = data->bytes, second = 0;
    uint64_t *next = list;
    size_t skip = data->skip;

    for (unsigned i = 0; left != 0; i++, skip = 0) {
        uint64_t address, size;

        if (i == data->count || data->segments[i].size <= skip)
            return -EINVAL;
        address = data->segments[i].iova + skip;
        size = data->segments[i].size - skip;
        if (size > left)
            size = left;
        left -= size;
        if (i == 0 ? (address & 3) != 0 : (address & offset_mask) != 0)
            return -EINVAL;
        if (left != 0 && ((address + size) & offset_mask) != 0)
            return -EINVAL;

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
    if (data->bytes == 0)
        return -EINVAL;
    prp->prp2 = next - list > 1 ? list_iova : second;
    return 0;
}
