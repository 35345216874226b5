/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that are too long for one command: cut into parts, each a request of its own, and joined.
 *
 * A part goes through the queue as any other request does, with a slot, a time limit, and whatever the
 * controller's failure makes of it; so nothing else in the driver knows of parts, but that where their data
 * begins they say in their own way. As many are under way as there were slots; each that ends makes room for
 * the next. The first error ends the request, when the device has let go of all its parts.
 */
#include "split.h"

static struct nvme_part *part_of(struct chalk_block_request *request)
{
    return (struct nvme_part *)request;
}

/* Steps over `bytes` bytes of data. */
static void advance(struct nvme_data *data, uint64_t bytes)
{
    data->bytes -= bytes;
    while (data->count != 0 && bytes >= data->segments->size - data->skip) {
        bytes -= data->segments->size - data->skip;
        data->segments++;
        data->count--;
        data->skip = 0;
    }
    data->skip += bytes;
}

/* How many blocks the next part has: no more than a command, nor than its list has room for. */
static uint32_t next_blocks(const struct nvme_queue *queue, const struct nvme_split *split)
{
    uint32_t most = split->part_blocks < split->left ? split->part_blocks : split->left;
    const struct nvme_data *data = &split->data;
    uint64_t fit = 0;

    if (data->bytes != 0 && most > queue->block.info.command_blocks)
        most = queue->block.info.command_blocks;   /* less than when it began: the controller was reset */
    if (data->bytes == 0 || queue->sgl_align == 0) /* of pages there is always room for all */
        return most;
    for (unsigned i = 0; i < data->count && i < NVME_LIST_PIECES; i++) {
        fit += data->segments[i].size - (i == 0 ? data->skip : 0);
        if (fit >> queue->block_shift >= most)
            return most;
    }
    return (uint32_t)(fit >> queue->block_shift);
}

/* Cuts the next part off, and submits it. Errors: -EAGAIN (there is no slot), or why the request has to end.
 */
static int submit_part(struct nvme_queue *queue, struct nvme_split *split)
{
    struct nvme_part *part = queue->free_parts;
    uint32_t blocks = next_blocks(queue, split);
    uint64_t bytes = split->data.bytes != 0 ? (uint64_t)blocks << queue->block_shift : 0;
    struct chalk_block_request *request;
    int taken;

    if (part == NULL)
        return -EAGAIN;
    if (blocks == 0)
        return -EINVAL; /* one block in more pieces than a list has room for */
    request = &part->request;
    *part = (struct nvme_part){
        .request = {.op = split->request->op,
                    .flags = split->request->flags | NVME_FLAG_PART,
                    .lba = split->request->lba + (split->request->count - split->left),
                    .count = blocks,
                    .done = chalk_nvme_part_done,
                    .tag = split->request->tag,
                    .tag_mask = split->request->tag_mask,
                    .context = split},
        .data = split->data,
        .next = part->next,
    };
    part->data.bytes = bytes;
    if (bytes != 0 && queue->block.info.metadata_size != 0)
        part->metadata = split->request->metadata->iova +
                         (uint64_t)(split->request->count - split->left) * queue->block.info.metadata_size;
    taken = queue->block.ops->submit(&queue->block, &request, 1);
    if (taken < 0)
        return taken;
    queue->free_parts = part->next;
    split->under_way++;
    split->left -= blocks;
    if (bytes != 0)
        advance(&split->data, bytes);
    return 0;
}

/* Submits as many parts as there are slots for. */
static void submit_parts(struct nvme_split *split)
{
    struct nvme_queue *queue = split->queue;
    int error = 0;

    while (split->left != 0 && error == 0)
        error = submit_part(queue, split);
    /* Without another part under way there would be nobody to go on. */
    if (error != 0 && (error != -EAGAIN || split->under_way == 0))
        nvme_split_fail(split, error);
}

static void release(struct nvme_split *split)
{
    split->request = NULL;
    split->next = split->queue->free_splits;
    split->queue->free_splits = split;
}

void chalk_nvme_part_done(struct chalk_block_request *request, int status)
{
    struct nvme_split *split = request->context;
    struct nvme_queue *queue = split->queue;

    part_of(request)->next = queue->free_parts;
    queue->free_parts = part_of(request);
    split->under_way--;
    if (status != 0)
        nvme_split_fail(split, status);
    if (split->left != 0) {
        submit_parts(split);
        queue->block.ops->kick(&queue->block); /* nobody else knows that there is something new */
    }
    if (split->under_way == 0) {
        struct chalk_block_request *whole = split->request;
        int error = split->error;

        release(split);
        queue->block.counters.completed++;
        chalk_take_back(whole);
        if (error == 0)
            error = chalk_nvme_check_read(queue, whole);
        chalk_block_completed(&queue->block, whole, error, 0);
        whole->done(whole, error);
    }
}

/* Whether the data can be described at all: it is known before any part of it is on its way. */
static bool right_edges(const struct nvme_queue *queue, const struct nvme_data *data)
{
    uint64_t align = queue->sgl_align != 0 ? queue->sgl_align - 1 : 3, wrong = 0;

    for (unsigned i = 0; i < data->count; i++) {
        wrong |= (data->segments[i].iova | data->segments[i].size) & align;
        if (queue->sgl_align == 0 && i != 0)
            wrong |= (data->segments[i].iova | (data->segments[i - 1].iova + data->segments[i - 1].size)) &
                     queue->page_mask;
    }
    return wrong == 0;
}

int chalk_nvme_split(struct nvme_queue *queue, struct chalk_block_request *request,
                     const struct nvme_data *data, uint32_t part_blocks)
{
    struct nvme_split *split = queue->free_splits; /* there is one: each has a slot, and one is free */

    if (!right_edges(queue, data))
        return -EINVAL;
    queue->free_splits = split->next;
    *split = (struct nvme_split){
        .request = request,
        .queue = queue,
        .data = *data,
        .left = request->count,
        .part_blocks = part_blocks,
    };
    submit_parts(split);
    if (split->under_way != 0)
        return 0;
    release(split);
    return split->error;
}
