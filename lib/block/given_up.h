/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests whose owner waits for them no longer: until they are called back they are the device's, and their
 * queue counts them. A request that its owner fills in anew meanwhile is recognized before it is submitted a
 * second time, by the driver's own books: its memory no longer tells.
 */
#ifndef BLOCK_GIVEN_UP_H
#define BLOCK_GIVEN_UP_H

#include <chalk/block.h>

static inline void given_up_done(struct chalk_block_request *request, int status)
{
    struct chalk_block_queue *queue = (struct chalk_block_queue *)request->context;

    (void)status;
    queue->given_up--;
}

/* Nobody waits for this request any more. It is called back all the same. */
static inline void give_up(struct chalk_block_queue *queue, struct chalk_block_request *request)
{
    request->done = given_up_done;
    request->context = queue;
    queue->given_up++;
}

/*
 * Whether the device still has the request, since somebody gave it up; then it ends as soon as it can. A
 * queue that cannot tell one request from another (it has no cancel) is taken to have it.
 */
static inline bool is_given_up(struct chalk_block_queue *queue, struct chalk_block_request *request)
{
    if (__builtin_expect(queue->given_up == 0, 1) || chalk_block_cancel(queue, request) == -ENOENT)
        return false;
    request->done = given_up_done;
    request->context = queue;
    return true;
}

#endif
