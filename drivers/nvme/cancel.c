/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that their owner does not want any more: found, and aborted. What becomes of them then is in
 * recovery.c; of one that was split no more parts are submitted.
 */
#include "split.h"

/* Whether what is in flight there is all or a part of `request`. */
static bool belongs(const struct chalk_block_request *in_flight, const struct chalk_block_request *request)
{
    struct nvme_split *split;

    if (in_flight == NULL || !nvme_is_part(in_flight))
        return in_flight == request;
    split = in_flight->context;
    if (split->request != request)
        return false;
    nvme_split_fail(split, -ECANCELED);
    return true;
}

int chalk_nvme_cancel(struct chalk_block_queue *block, struct chalk_block_request *request)
{
    struct nvme_queue *queue = (struct nvme_queue *)block;
    int error = -ENOENT;

    chalk_assert(request != NULL);
    for (unsigned i = 0; i < queue->depth; i++)
        if (belongs(queue->slots[i].request, request)) {
            chalk_nvme_abort(queue, &queue->slots[i]);
            error = 0;
        }
    return error;
}
