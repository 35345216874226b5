/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Physical region pages: how a command says where its data is [Base 4.1.1].
 *
 * PRP1 is an address anywhere in a page; every further entry is a whole page. Two entries go into the
 * command; more go into a list, which PRP2 then points to.
 */
#ifndef NVME_PRP_H
#define NVME_PRP_H

#include "data.h"

struct nvme_prp {
    uint64_t prp1, prp2;
};

/*
 * Describes `data`. `list` (at `list_iova` for the device) has room for bytes / page entries, rounded up, and
 * crosses no page. Returns 0; or -EINVAL when there are no bytes, or fewer than `data` says, when the first
 * address is not a multiple of 4, or any inner edge is not a page's.
 */
/*@ requires is_page(page) && \valid(prp) && \valid(list + (0 .. pages(data->bytes, page) - 1));
    requires \valid_read(data) && \valid_read(data->segments + (0 .. data->count - 1));
    requires \separated(prp, list + (0 .. pages(data->bytes, page) - 1), data,
                        data->segments + (0 .. data->count - 1));
    assigns *prp, list[0 .. pages(data->bytes, page) - 1]; */
int chalk_nvme_prp_list(const struct nvme_data *data, uint64_t page, uint64_t *list, uint64_t list_iova,
                        struct nvme_prp *prp);

#endif
