/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Block requests by name, and one at a time, for those who have nothing else to do meanwhile.
 */
#include <block/given_up.h>
#include <chalk/clock.h>
#include <chalk/error.h>

_Static_assert(sizeof(struct chalk_block_request) == 64, "a request is one cache line");
_Static_assert(offsetof(struct chalk_block_queue, info) == 64, "what requests need of a queue is another");

const char *chalk_block_op_name(unsigned op)
{
    static const char *const names[] = {
        [CHALK_BLOCK_READ] = "read",
        [CHALK_BLOCK_WRITE] = "write",
        [CHALK_BLOCK_FLUSH] = "flush",
        [CHALK_BLOCK_DISCARD] = "discard",
        [CHALK_BLOCK_WRITE_ZEROES] = "write of zeroes",
        [CHALK_BLOCK_COMPARE] = "compare",
        [CHALK_BLOCK_VERIFY] = "verify",
        [CHALK_BLOCK_DRIVER] = "command",
    };

    return op < sizeof names / sizeof *names ? names[op] : "unknown operation";
}

static char pending; /* its address is the context of a request that is not finished */

/* Nothing here may live on the stack of chalk_block_do(): after -ETIMEDOUT it is gone when this is called. */
static void finished(struct chalk_block_request *request, int status)
{
    request->context = (void *)(intptr_t)status;
}

/* Takes the request to the device; while the queue is full, the requests before it are seen to. */
static int submit_one(struct chalk_block_queue *queue, struct chalk_block_request *request, uint64_t deadline)
{
    for (;;) {
        bool last_try = chalk_expired(deadline);
        int taken = chalk_block_submit(queue, &request, 1);
        if (taken > 0)
            return 0;
        if (taken < 0 && taken != -EAGAIN)
            return taken;
        if (last_try)
            return -EAGAIN;
        chalk_block_kick(queue);
        int polled = chalk_block_poll(queue, 0);
        if (polled < 0)
            return polled;
        chalk_pause();
    }
}

int chalk_block_do(struct chalk_block_queue *queue, struct chalk_block_request *request, uint64_t deadline)
{
    void (*done)(struct chalk_block_request *, int) = request->done;
    void *context = request->context;
    int status;

    if (is_given_up(queue, request)) {
        (void)chalk_block_poll(queue, 0);
        return -EBUSY;
    }
    request->done = finished;
    request->context = &pending;
    status = submit_one(queue, request, deadline);
    if (!status) {
        chalk_block_kick(queue);
        for (;;) {
            bool last_try = chalk_expired(deadline);
            int polled = chalk_block_poll(queue, 0);
            if (request->context != &pending) {
                status = (int)(intptr_t)request->context;
                break;
            }
            if (polled <
                0) /* a queue that failed has called everything back, so this is a driver's mistake */
                return polled;
            if (last_try) {
                give_up(queue, request);
                return -ETIMEDOUT;
            }
            chalk_pause();
        }
    }
    request->done = done;
    request->context = context;
    return status;
}
