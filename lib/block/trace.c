/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a trace says of a block request: the same for every driver.
 */
#include <chalk/block.h>
#include <chalk/trace.h>

static const uint16_t kinds[] = {
    [CHALK_BLOCK_READ] = CHALK_TRACE_READ,
    [CHALK_BLOCK_WRITE] = CHALK_TRACE_WRITE,
    [CHALK_BLOCK_FLUSH] = CHALK_TRACE_FLUSH,
    [CHALK_BLOCK_DISCARD] = CHALK_TRACE_DISCARD,
    [CHALK_BLOCK_WRITE_ZEROES] = CHALK_TRACE_WRITE_ZEROES,
    [CHALK_BLOCK_COMPARE] = CHALK_TRACE_COMPARE,
    [CHALK_BLOCK_VERIFY] = CHALK_TRACE_VERIFY,
    [CHALK_BLOCK_DRIVER] = CHALK_TRACE_DRIVER,
};

void chalk_block_trace_submit(const struct chalk_block_queue *queue,
                              const struct chalk_block_request *request)
{
    chalk_trace_emit(queue->trace, kinds[request->op], request->count, (uintptr_t)request, request->lba);
}

void chalk_block_trace_complete(const struct chalk_block_queue *queue,
                                const struct chalk_block_request *request, int error, uint32_t words)
{
    chalk_trace_emit(queue->trace, CHALK_TRACE_COMPLETE, (uint32_t)error, (uintptr_t)request, words);
}
