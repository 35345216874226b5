/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that become several commands: see split.c. */
#ifndef NVME_SPLIT_H
#define NVME_SPLIT_H

#include "nvme.h"

/* In the flags of a part, so that it is never taken for a plain request. No caller may set it. */
#define NVME_FLAG_PART 0x80

/* One command of a request that needs several. A free one is in a list. */
struct nvme_part {
    struct chalk_block_request request; /* `context` is the whole's struct nvme_split */
    struct nvme_data data;
    uint64_t metadata; /* where it is, for the controller; 0: none is moved */
    struct nvme_part *next;
};

/* A request that is being split. */
struct nvme_split {
    struct chalk_block_request *request; /* the caller's */
    struct nvme_queue *queue;
    struct nvme_data data; /* what is left of it */
    uint32_t left;         /* blocks that are not in a part yet */
    uint32_t part_blocks;  /* in a part, at most */
    uint32_t under_way;    /* parts */
    int error;             /* the first */
    struct nvme_split *next;
};

/* Takes a request whose data is right; a slot is free. Errors: -EINVAL (its segments do not begin and end as
 * they should). */
int chalk_nvme_split(struct nvme_queue *queue, struct chalk_block_request *request,
                     const struct nvme_data *data, uint32_t part_blocks);

void chalk_nvme_part_done(struct chalk_block_request *request, int status);

static inline bool nvme_is_part(const struct chalk_block_request *request)
{
    return request->done == chalk_nvme_part_done;
}

/* No more parts: the request ends, with its first error, when the last one under way has. */
static inline void nvme_split_fail(struct nvme_split *split, int error)
{
    split->left = 0;
    if (split->error == 0)
        split->error = error;
}

#endif
