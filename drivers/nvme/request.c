/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that are not a plain read or write of two pages: what command each of them becomes.
 *
 * io.c comes here with whatever it does not recognize at a glance; so here is also where what is wrong with a
 * request gets its name.
 */
#include "nvme.h"
#include "protection.h"
#include "prp.h"
#include "sgl.h"
#include "split.h"

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
    size_t offset = (size_t)nvme_next_slot(queue) * NVME_LIST_SIZE;

    *iova = queue->lists_iova + offset;
    return (char *)queue->lists + offset;
}

/* Whether a list of pages is shorter than one of pieces, or has no more than the command has room for. */
static bool pages_are_cheaper(const struct nvme_queue *queue, const struct nvme_data *data)
{
    uint64_t pages = data->bytes / queue->page + 1;

    return data->count * sizeof(struct nvme_sgl) >= pages * sizeof(uint64_t);
}

/* Writes into the command where its data is: pages, or pieces if the controller knows them. */
static int point(struct nvme_queue *queue, const struct nvme_data *data, struct nvme_command *command)
{
    uint64_t iova;
    void *entries = list(queue, &iova);
    struct nvme_prp prp;
    int error = -EINVAL;

    if (queue->sgl_align == 0 || pages_are_cheaper(queue, data)) {
        error = chalk_nvme_prp_list(data, queue->page, entries, iova, &prp);
        command->prp1 = prp.prp1;
        command->prp2 = prp.prp2;
    }
    if (error != 0 && queue->sgl_align != 0) {
        error = chalk_nvme_sgl(data, queue->sgl_align, entries, NVME_LIST_PIECES, iova, &command->sgl);
        command->cdw0 |= NVME_DATA_SGL;
    }
    return error != 0 ? -EINVAL : 0;
}

/* All the segments of a request; and that they are there, none is empty, and they are no more than `most`
 * bytes. */
static int gather(const struct chalk_block_request *request, uint64_t most, struct nvme_data *data)
{
    *data = (struct nvme_data){.segments = request->segments, .count = request->segment_count};
    if (data->count != 0 && data->segments == NULL)
        return -EINVAL;
    for (unsigned i = 0; i < data->count; i++) {
        if (data->segments[i].size == 0 || data->segments[i].size > most - data->bytes)
            return -EINVAL;
        data->bytes += data->segments[i].size;
    }
    return 0;
}

static int submit_flush(struct nvme_queue *queue, struct chalk_block_request *request)
{
    const struct nvme_command command = {.cdw0 = NVME_FLUSH, .nsid = queue->nsid};

    nvme_issue(queue, &command, request, 0);
    return 0;
}

/* One range, in the slot's list [NVM 3.2.3], and zeroes: see NVME_LIST_SIZE. */
static int submit_discard(struct nvme_queue *queue, struct chalk_block_request *request)
{
    struct nvme_command command = {
        .cdw0 = NVME_DATASET,
        .nsid = queue->nsid,
        .cdw10 = 0, /* one range */
        .cdw11 = NVME_DATASET_DEALLOCATE,
    };
    struct nvme_range *range = list(queue, &command.prp1);

    memset(range, 0, NVME_LIST_SIZE);
    *range = (struct nvme_range){.blocks = request->count, .slba = request->lba};
    nvme_issue(queue, &command, request, 0);
    return 0;
}

/* In one request; and in one command. */
static void limits(const struct nvme_queue *queue, unsigned op, uint32_t *most, uint32_t *most_at_once)
{
    const struct chalk_block_info *info = &queue->block.info;

    switch (op) {
    case CHALK_BLOCK_DISCARD:
        *most = *most_at_once = info->max_discard;
        break;
    case CHALK_BLOCK_WRITE_ZEROES:
        *most = info->max_zeroes;
        *most_at_once = queue->zeroes_blocks;
        break;
    case CHALK_BLOCK_VERIFY:
        *most = info->max_verify;
        *most_at_once = queue->verify_blocks;
        break;
    default:
        *most = info->max_blocks;
        *most_at_once = info->command_blocks;
    }
}

/* What the controller does about protection information [NVM 5.2.2]; zeroes have nothing to check
 * [NVM 3.2.8].
 */
static void protect(const struct nvme_queue *queue, const struct chalk_block_request *request,
                    struct nvme_command *command)
{
    if (queue->protection == CHALK_NVME_PROTECT_NOT)
        return;
    if (request->op == CHALK_BLOCK_WRITE_ZEROES ||
        (queue->protection == CHALK_NVME_PROTECT_CONTROLLER && commands[request->op].data))
        command->cdw12 |= NVME_PROTECT_ACT;
    if (request->op != CHALK_BLOCK_WRITE_ZEROES)
        command->cdw12 |= NVME_PROTECT_CHECK | (request->tag_mask != 0 ? NVME_PROTECT_CHECK_TAG : 0);
    command->cdw14 = (uint32_t)request->lba;
    command->cdw15 = (uint32_t)request->tag_mask << 16 | request->tag;
}

static struct nvme_protected protected(const struct nvme_queue *queue,
                                       const struct chalk_block_request *request)
{
    return (struct nvme_protected){
        .block_size = queue->block.info.block_size,
        .metadata_size = queue->block.info.metadata_size,
        .offset = queue->protection_at,
        .lba = request->lba,
        .tag = request->tag,
        .tag_mask = request->tag_mask,
    };
}

/* One command for blocks that one command can have; its metadata, if any is moved, is at `metadata`. */
static int submit_blocks(struct nvme_queue *queue, struct chalk_block_request *request,
                         const struct nvme_data *data, uint64_t metadata)
{
    struct nvme_command command = {
        .cdw0 = commands[request->op].opcode,
        .nsid = queue->nsid,
        .slba = request->lba,
        .cdw12 = (request->count - 1) | ((request->flags & CHALK_BLOCK_FUA) != 0 ? NVME_FORCE_UNIT : 0),
    };
    int error;

    if (commands[request->op].data) {
        error = point(queue, data, &command);
        if (error != 0)
            return error;
        command.mptr = metadata;
    }
    protect(queue, request, &command);
    nvme_issue(queue, &command, request, 0);
    return 0;
}

/* Whether a request's metadata is where and what it should be. */
static bool metadata_is_right(const struct nvme_queue *queue, const struct chalk_block_request *request)
{
    const struct chalk_dma *metadata = request->metadata;

    if (metadata == NULL || (metadata->iova & 3) != 0 ||
        metadata->size != (uint64_t)request->count * queue->block.info.metadata_size)
        return false;
    chalk_grant_check(queue->nvme->domain, metadata->iova, metadata->size);
    return true;
}

/* A request for blocks, checked; as one command, if that will do. */
static int submit_range(struct nvme_queue *queue, struct chalk_block_request *request)
{
    uint64_t bytes = (uint64_t)request->count << queue->block_shift;
    struct nvme_data data = {.bytes = 0};
    uint32_t most, most_at_once;
    bool moves_metadata = commands[request->op].data && queue->block.info.metadata_size != 0;
    bool checks = moves_metadata && queue->protection == CHALK_NVME_PROTECT_DRIVER;
    int error;

    limits(queue, request->op, &most, &most_at_once);
    if (request->count - 1 >= most) /* 0 is beyond it, too */
        return -EINVAL;
    if (request->lba > queue->block_count - request->count) /* no limit is above block_count */
        return -ERANGE;
    if (commands[request->op].data && (gather(request, bytes, &data) != 0 || data.bytes != bytes))
        return -EINVAL;
    if (moves_metadata && !metadata_is_right(queue, request))
        return -EINVAL;
    if (checks && request->op != CHALK_BLOCK_READ) {
        const struct nvme_protected how = protected(queue, request);

        chalk_nvme_protect(&how, &data, request->metadata->va);
    }
    if (request->op == CHALK_BLOCK_DISCARD)
        return submit_discard(queue, request);
    if (request->count > most_at_once || (checks && request->op == CHALK_BLOCK_READ) || /* see check_read() */
        (queue->sgl_align != 0 && data.count > NVME_LIST_PIECES)) /* of pages there is room for all */
        error = chalk_nvme_split(queue, request, &data, most_at_once);
    else
        error = submit_blocks(queue, request, &data, moves_metadata ? request->metadata->iova : 0);
    if (error == 0 && data.count != 0)
        nvme_lend(queue, request, commands[request->op].opcode);
    return error;
}

int chalk_nvme_check_read(struct nvme_queue *queue, const struct chalk_block_request *request)
{
    const struct nvme_protected how = protected(queue, request);
    const struct nvme_data data = {.segments = request->segments,
                                   .count = request->segment_count,
                                   .bytes = (uint64_t)request->count << queue->block_shift};
    const char *what;
    uint64_t wrong;
    int error;

    if (queue->protection != CHALK_NVME_PROTECT_DRIVER || request->op != CHALK_BLOCK_READ)
        return 0;
    error = chalk_nvme_protection_check(&how, &data, request->metadata->va, &wrong, &what);
    if (error != 0)
        chalk_log(CHALK_ERROR, "NVMe %s: namespace %u: block %llu was read with the wrong %s",
                  queue->nvme->name, queue->nsid, (unsigned long long)wrong, what);
    return error;
}

/* A command as the caller wrote it, but for its identifier, its data and its metadata. */
static int submit_command(struct nvme_queue *queue, struct chalk_nvme_request *request)
{
    struct nvme_command command = chalk_nvme_assemble(&request->command);
    const struct chalk_dma *metadata = request->block.metadata;
    struct nvme_data data;
    int error = gather(&request->block, queue->nvme->info.max_transfer, &data);

    if (error == 0 && data.count != 0)
        error = point(queue, &data, &command);
    if (error == 0 && metadata != NULL && (metadata->iova & 3) != 0)
        error = -EINVAL;
    if (error != 0)
        return error;
    if (metadata != NULL) {
        chalk_grant_check(queue->nvme->domain, metadata->iova, metadata->size);
        command.mptr = metadata->iova;
    }
    request->result = 0;
    request->status = 0;
    nvme_issue(queue, &command, &request->block, NVME_TAG_RESULT);
    nvme_lend(queue, &request->block, request->command.opcode);
    return 0;
}

static int submit_any(struct nvme_queue *queue, struct chalk_block_request *request)
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
    return submit_range(queue, request);
}

/* Errors: -EIO: since a reset the controller takes less in one command than the part has. */
static int submit_part(struct nvme_queue *queue, struct nvme_part *part)
{
    uint32_t most, most_at_once;

    limits(queue, part->request.op, &most, &most_at_once);
    if (part->request.count > most_at_once)
        return -EIO;
    return submit_blocks(queue, &part->request, &part->data, part->metadata);
}

int chalk_nvme_submit_other(struct nvme_queue *queue, struct chalk_block_request *request)
{
    int error;

    if (nvme_is_part(request))
        return submit_part(queue, (struct nvme_part *)request);
    error = submit_any(queue, request);
    if (error == -EINVAL)
        chalk_nvme_explain(queue, request);
    return error;
}

void chalk_nvme_result(struct chalk_nvme_request *request, const struct nvme_completion *entry,
                       uint32_t outcome)
{
    request->status = NVME_OUTCOME_STATUS(outcome);
    if (!NVME_OUTCOME_FAILED(outcome))
        request->result = chalk_dma_load64(entry);
}
