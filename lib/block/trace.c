/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a trace says of a block request: the same for every driver.
 */
#include <chalk/block.h>
#include <chalk/trace.h>

_Static_assert(CHALK_TRACE_READ + CHALK_BLOCK_WRITE == CHALK_TRACE_WRITE &&
                   CHALK_TRACE_READ + CHALK_BLOCK_FLUSH == CHALK_TRACE_FLUSH,
               "kinds are in the order of operations");

void chalk_block_trace_submit(const struct chalk_block_queue *queue,
                              const struct chalk_block_request *request)
{
    chalk_trace(queue->trace, CHALK_TRACE_READ + request->op, request->count, (uintptr_t)request,
                request->lba);
}

void chalk_block_trace_complete(const struct chalk_block_queue *queue,
                                const struct chalk_block_request *request, int error, uint32_t words)
{
    chalk_trace(queue->trace, CHALK_TRACE_COMPLETE, (uint32_t)error, (uintptr_t)request, words);
}
