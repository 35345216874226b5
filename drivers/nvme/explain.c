/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which field of a request is wrong. A request that is refused with -EINVAL is the caller's mistake, and one
 * number stands for a dozen of them. What is said here is found by looking at the request again, after it was
 * refused, so that nothing on the way of a right one knows of it.
 */
#include "nvme.h"

#define TEXT 160

/* Of all segments together, and of each: what struct chalk_block_info says of them. */
static void explain_segments(const struct nvme_queue *queue, const struct chalk_block_request *request,
                             char text[TEXT])
{
    const uint32_t align = queue->block.info.segment_align, boundary = queue->block.info.boundary;

    for (unsigned i = 0; i < request->segment_count; i++) {
        const struct chalk_dma *segment = &request->segments[i];
        uint64_t end = segment->iova + segment->size;

        if (((i == 0 ? segment->iova : 0) | segment->size) % align != 0)
            chalk_format(text, TEXT,
                         "segments[%u], %zu bytes at 0x%llx, is not aligned to %u bytes (segment_align)", i,
                         segment->size, (unsigned long long)segment->iova, align);
        else if (i > 0 && segment->iova % boundary != 0)
            chalk_format(text, TEXT,
                         "segments[%u] begins at 0x%llx, and all but the first begin at multiples of %u "
                         "(boundary)",
                         i, (unsigned long long)segment->iova, boundary);
        else if (i + 1 < request->segment_count && end % boundary != 0)
            chalk_format(text, TEXT,
                         "segments[%u] ends at 0x%llx, and all but the last end at multiples of %u "
                         "(boundary)",
                         i, (unsigned long long)end, boundary);
        else
            continue;
        return;
    }
    chalk_format(text, TEXT, "its %u segments are more pieces than fit into a list, which has %zu",
                 request->segment_count, NVME_LIST_PIECES);
}

/* Returns whether it is the sizes. `exact`: they have to add up to `bytes`; else to no more. */
static bool explain_sizes(const struct chalk_block_request *request, uint64_t bytes, bool exact,
                          char text[TEXT])
{
    uint64_t sum = 0;

    if (request->segment_count != 0 && request->segments == NULL) {
        chalk_format(text, TEXT, "segments is NULL, and segment_count is %u", request->segment_count);
        return true;
    }
    for (unsigned i = 0; i < request->segment_count; i++) {
        if (request->segments[i].size == 0) {
            chalk_format(text, TEXT, "segments[%u].size is 0", i);
            return true;
        }
        if (__builtin_add_overflow(sum, request->segments[i].size, &sum))
            sum = UINT64_MAX;
    }
    if (exact ? sum == bytes : sum <= bytes)
        return false;
    chalk_format(text, TEXT, "its %u segments have %llu bytes, and %s %llu", request->segment_count,
                 (unsigned long long)sum, exact ? "count blocks have" : "a command moves at most",
                 (unsigned long long)bytes);
    return true;
}

static bool explain_metadata(const struct chalk_dma *metadata, uint64_t bytes, bool exact, char text[TEXT])
{
    if (metadata == NULL && exact)
        chalk_format(text, TEXT, "metadata is NULL, and the blocks have %llu bytes of it",
                     (unsigned long long)bytes);
    else if (metadata != NULL && metadata->iova % 4 != 0)
        chalk_format(text, TEXT, "metadata is at 0x%llx, not at a multiple of 4",
                     (unsigned long long)metadata->iova);
    else if (metadata != NULL && exact && metadata->size != bytes)
        chalk_format(text, TEXT, "metadata has %zu bytes, and count blocks have %llu (metadata_size each)",
                     metadata->size, (unsigned long long)bytes);
    else
        return false;
    return true;
}

static bool moves_data(unsigned op)
{
    return op == CHALK_BLOCK_READ || op == CHALK_BLOCK_WRITE || op == CHALK_BLOCK_COMPARE;
}

static uint32_t most_blocks(const struct chalk_block_info *info, unsigned op)
{
    return op == CHALK_BLOCK_DISCARD        ? info->max_discard
           : op == CHALK_BLOCK_WRITE_ZEROES ? info->max_zeroes
           : op == CHALK_BLOCK_VERIFY       ? info->max_verify
                                            : info->max_blocks;
}

static void explain_blocks(const struct nvme_queue *queue, const struct chalk_block_request *request,
                           char text[TEXT])
{
    const struct chalk_block_info *info = &queue->block.info;
    uint32_t most = most_blocks(info, request->op);
    bool data = moves_data(request->op);

    if (request->count == 0)
        chalk_format(text, TEXT, "count is 0");
    else if (request->count > most)
        chalk_format(text, TEXT, "count is %u, and a request has at most %u blocks", request->count, most);
    else if (data && request->segment_count == 0)
        chalk_format(text, TEXT, "segment_count is 0, and it has data");
    else if (data && explain_sizes(request, (uint64_t)request->count * info->block_size, true, text))
        return;
    else if (data && info->metadata_size != 0 &&
             explain_metadata(request->metadata, (uint64_t)request->count * info->metadata_size, true, text))
        return;
    else
        explain_segments(queue, request, text);
}

static void explain_command(const struct nvme_queue *queue, const struct chalk_block_request *request,
                            char text[TEXT])
{
    if (!explain_sizes(request, queue->nvme->info.max_transfer, false, text) &&
        !explain_metadata(request->metadata, 0, false, text))
        explain_segments(queue, request, text);
}

int chalk_nvme_wrong_call(const struct chalk_nvme *nvme, const char *call, const char *why)
{
    chalk_log(CHALK_ERROR, "NVMe %s: wrong call of %s(): %s", nvme->name, call, why);
    return -EINVAL;
}

void chalk_nvme_explain(struct nvme_queue *queue, const struct chalk_block_request *request)
{
    char text[TEXT];

#if !defined(CHALK_DEBUG) && !defined(CHALK_INSTRUMENTED)
    if (queue->explained) /* a program that goes on like that would fill the log */
        return;
#endif
    queue->explained = true;
    if (request->op > CHALK_BLOCK_DRIVER)
        chalk_format(text, sizeof text, "op is %u", request->op);
    else if (request->op == CHALK_BLOCK_DRIVER)
        explain_command(queue, request, text);
    else
        explain_blocks(queue, request, text);
    chalk_log(CHALK_ERROR, "NVMe %s: namespace %u: wrong request (%s): %s", queue->nvme->name, queue->nsid,
              chalk_block_op_name(request->op), text);
}
