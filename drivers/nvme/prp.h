/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Physical region pages: how a command says where its data is [Base 4.1.1].
 *
 * PRP1 is an address anywhere in a page; every further entry is a whole page. Two entries go into the
 * command; more go into a list, which PRP2 then points to.
 */
#ifndef NVME_PRP_H
#define NVME_PRP_H

#include <chalk/dma.h>
#include <chalk/error.h>
#include <stdbool.h>
#include <stdint.h>

struct nvme_prp {
    uint64_t prp1, prp2;
};

/*
 * Describes `bytes` bytes of data in `count` segments. `list` (at `list_iova` for the device) has room for
 * bytes / page entries, rounded up, and crosses no page. Returns 0; or -EINVAL when the sizes do not add up
 * to `bytes`, the first address is not a multiple of 4, or any inner edge is not a page's.
 */
int chalk_nvme_prp_list(const struct chalk_dma *segments, unsigned count, uint64_t bytes, uint64_t page,
                        uint64_t *list, uint64_t list_iova, struct nvme_prp *prp);

/*
 * The same for one segment that touches at most two pages, as nearly every request does, in a few
 * instructions. False: it is something else, or wrong.
 */
static inline bool nvme_prp_pair(const struct chalk_dma *segment, uint64_t bytes, uint64_t page,
                                 struct nvme_prp *prp)
{
    uint64_t address = segment->iova;
    uint64_t in_first = page - (address & (page - 1));

    if ((address & 3) != 0 || segment->size != bytes || bytes > in_first + page)
        return false;
    prp->prp1 = address;
    prp->prp2 = bytes > in_first ? address + in_first : 0;
    return true;
}

#endif
