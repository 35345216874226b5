/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that are not a plain read or write of two pages: what command each of them becomes.
 *
 * io.c comes here with whatever it does not recognize at a glance; so here is also where what is wrong with a
 * request gets its name.
 */
#include "nvme.h"
#include "prp.h"

/* Opcodes; and whether blocks are moved, so that segments say where to. */
static const struct {
    uint8_t opcode;
    bool data;
} commands[] = {
    [CHALK_BLOCK_READ] = {NVME_READ, true},       [CHALK_BLOCK_WRITE] = {NVME_WRITE, true},
    [CHALK_BLOCK_FLUSH] = {NVME_FLUSH, false},    [CHALK_BLOCK_DISCARD] = {NVME_DATASET, false},
    [CHALK_BLOCK_COMPARE] = {NVME_COMPARE, true}, [CHALK_BLOCK_WRITE_ZEROES] = {NVME_WRITE_ZEROES, false},
    [CHALK_BLOCK_VERIFY] = {NVME_VERIFY, false},
};

/* The memory of the next slot, for what a command points to. */
static void *list(const struct nvme_queue *queue, uint64_t *iova)
{
    size_t offset = (size_t)nvme_next_slot(queue) << queue->list_shift;

    *iova = queue->lists_iova + offset;
    return (char *)queue->lists + offset;
}

/* Where `bytes` bytes of data are. */
static int point(struct nvme_queue *queue, const struct chalk_block_request *request, uint64_t bytes,
                 struct nvme_command *command)
{
    uint64_t iova, *entries = list(queue, &iova);
    struct nvme_prp prp;
    int error = chalk_nvme_prp_list(request->segments, request->segment_count, bytes, queue->page_mask + 1, entries,
                                    iova, &prp);

    if (error != 0)
        return error;
    for (unsigned i = 0; i < request->segment_count; i++)
        chalk_grant_check(queue->nvme->domain, request->segments[i].iova, request->segments[i].size);
    command->prp1 = prp.prp1;
    command->prp2 = prp.prp2;
    return 0;
}

static int submit_flush(struct nvme_queue *queue, struct chalk_block_request *request)
{
    const struct nvme_command command = {.cdw0 = NVME_FLUSH, .nsid = queue->nsid};

    nvme_issue(queue, &command, request, 0);
    return 0;
}

/* One range, in the slot's list [NVM 3.2.3]. */
static int submit_discard(struct nvme_queue *queue, struct chalk_block_request *request)
{
    struct nvme_command command = {
        .cdw0 = NVME_DATASET,
        .nsid = queue->nsid,
        .cdw10 = 0, /* one range */
        .cdw11 = NVME_DATASET_DEALLOCATE,
    };
    struct nvme_range *range = list(queue, &command.prp1);

    *range = (struct nvme_range){.blocks = request->count, .slba = request->lba};
    nvme_issue(queue, &command, request, 0);
    return 0;
}

static uint32_t most_blocks(const struct chalk_block_info *info, unsigned op)
{
    switch (op) {
    case CHALK_BLOCK_DISCARD:
        return info->max_discard;
    case CHALK_BLOCK_WRITE_ZEROES:
        return info->max_zeroes;
    case CHALK_BLOCK_VERIFY:
        return info->max_verify;
    default:
        return info->max_blocks;
    }
}

static int submit_blocks(struct nvme_queue *queue, struct chalk_block_request *request)
{
    uint64_t bytes = (uint64_t)request->count << queue->block_shift;
    struct nvme_command command = {
        .cdw0 = commands[request->op].opcode,
        .nsid = queue->nsid,
        .slba = request->lba,
        .cdw12 = (request->count - 1) | ((request->flags & CHALK_BLOCK_FUA) != 0 ? NVME_FORCE_UNIT : 0),
    };
    int error;

    if (request->count - 1 >= most_blocks(&queue->block.info, request->op)) /* 0 is beyond it, too */
        return -EINVAL;
    if (request->lba > queue->block_count - request->count) /* no limit is above block_count */
        return -ERANGE;
    if (request->op == CHALK_BLOCK_DISCARD)
        return submit_discard(queue, request);
    if (commands[request->op].data) {
        error = point(queue, request, bytes, &command);
        if (error != 0)
            return error;
    }
    nvme_issue(queue, &command, request, 0);
    return 0;
}

/* A command as the caller wrote it, but for its identifier and its data. */
static int submit_command(struct nvme_queue *queue, struct chalk_nvme_request *request)
{
    const struct chalk_nvme_command *raw = &request->command;
    struct nvme_command command = {
        .cdw0 = raw->opcode,
        .nsid = raw->nsid,
        .cdw2 = raw->cdw2,
        .cdw3 = raw->cdw3,
        .cdw10 = raw->cdw10,
        .cdw11 = raw->cdw11,
        .cdw12 = raw->cdw12,
        .cdw13 = raw->cdw13,
        .cdw14 = raw->cdw14,
        .cdw15 = raw->cdw15,
    };
    uint64_t bytes = 0;
    int error;

    for (unsigned i = 0; i < request->block.segment_count; i++) {
        if (request->block.segments[i].size > queue->nvme->info.max_transfer - bytes)
            return -EINVAL;
        bytes += request->block.segments[i].size;
    }
    if (request->block.segment_count != 0) {
        error = point(queue, &request->block, bytes, &command);
        if (error != 0)
            return error;
    }
    request->result = 0;
    request->status = 0;
    nvme_issue(queue, &command, &request->block, NVME_TAG_RESULT);
    return 0;
}

int chalk_nvme_submit_other(struct nvme_queue *queue, struct chalk_block_request *request)
{
    const struct chalk_block_info *info = &queue->block.info;

    if (request->op > CHALK_BLOCK_DRIVER)
        return -EINVAL;
    if ((info->operations >> request->op & 1) == 0 || (request->flags & ~info->flags) != 0)
        return -ENOTSUP;
    if (request->op == CHALK_BLOCK_FLUSH)
        return submit_flush(queue, request);
    if (request->op == CHALK_BLOCK_DRIVER)
        return submit_command(queue, (struct chalk_nvme_request *)request);
    return submit_blocks(queue, request);
}

void chalk_nvme_result(struct chalk_nvme_request *request, const struct nvme_completion *entry,
                       uint32_t outcome)
{
    request->status = NVME_OUTCOME_STATUS(outcome);
    if (!NVME_OUTCOME_FAILED(outcome))
        request->result = chalk_dma_load64(entry);
}
