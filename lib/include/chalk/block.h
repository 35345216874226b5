/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Block devices: queues of asynchronous requests, the same for every driver.
 *
 * A queue belongs to one core. Its owner fills requests in, submits some, kicks the queue (one doorbell for
 * all of them), and polls; poll calls each finished request's callback. Every submitted request is finished
 * exactly once. From submission to callback the request and its buffers belong to the driver and the device.
 *
 *     chalk_block_submit(queue, requests, n);
 *     chalk_block_kick(queue);
 *     while (...) chalk_block_poll(queue, 0);
 *
 * Interrupts only end a wait: with or without them, completions are found by chalk_block_poll().
 */
#ifndef CHALK_BLOCK_H
#define CHALK_BLOCK_H

#include <chalk/dma.h>
#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chalk_block_op { CHALK_BLOCK_READ, CHALK_BLOCK_WRITE, CHALK_BLOCK_FLUSH };

struct chalk_block_request {
    enum chalk_block_op op;
    uint32_t count; /* blocks; 0 for a flush */
    uint64_t lba;
    /*
     * Where the data is: `segment_count` pieces of shared memory whose sizes add up to count blocks. What
     * alignment they need is in struct chalk_block_info. The array stays valid until the callback.
     */
    const struct chalk_dma *segments;
    unsigned segment_count;
    /* Called from chalk_block_poll(), once: status 0 or a negative errno. It may submit again. */
    void (*done)(struct chalk_block_request *request, int status);
    void *context; /* the caller's */
};

/* What the device is. Constant while it is open. */
struct chalk_block_info {
    uint64_t block_count;
    uint32_t block_size;    /* bytes */
    uint32_t max_blocks;    /* in one request */
    uint32_t segment_align; /* bytes: of the first segment's address, and of every size */
    uint32_t boundary;      /* bytes: all segments but the first start, all but the last end, on a multiple */
    unsigned depth;         /* requests in flight at once */
    bool volatile_cache;    /* a flush is needed for durability */
};

struct chalk_block_counters {
    uint64_t submitted, completed, failed;
    uint64_t doorbells; /* register writes, of both kinds */
    uint64_t polls;
};

struct chalk_block_queue;
struct chalk_trace; /* <chalk/trace.h> */

struct chalk_block_ops {
    int (*submit)(struct chalk_block_queue *, struct chalk_block_request *const *, unsigned);
    void (*kick)(struct chalk_block_queue *);
    int (*poll)(struct chalk_block_queue *, unsigned);
};

/* The head of every driver's queue. */
struct chalk_block_queue {
    const struct chalk_block_ops *ops;
    struct chalk_block_counters counters;
    struct chalk_block_info info;
    /* Goes up with each interrupt of this queue (see chalk_vector_attach()); stays 0 while polled. */
    CHALK_ATOMIC(uint32_t) interrupts;
    /* Where its requests are traced, the ring of the core that owns it; NULL: nowhere. The owner's to set. */
    struct chalk_trace *trace;
};

/*
 * Submits up to `count` requests, in order, and returns how many were taken: fewer than asked when the queue
 * is full, or when a request is wrong and it is not the first. Errors, when the first one is not taken:
 * -EAGAIN (full), -EINVAL (unaligned or wrong segments, no blocks, too many), -ERANGE (beyond the last
 * block), -EIO (the device has failed). Nothing reaches the device before chalk_block_kick(). Costs one
 * indirect call for all of them.
 */
static inline int chalk_block_submit(struct chalk_block_queue *queue,
                                     struct chalk_block_request *const *requests, unsigned count)
{
    return queue->ops->submit(queue, requests, count);
}

/* Tells the device about everything submitted so far: one doorbell, or none if there is nothing new. */
static inline void chalk_block_kick(struct chalk_block_queue *queue)
{
    queue->ops->kick(queue);
}

/*
 * Calls back at most `max` finished requests (0: all that are there now). Returns how many; or, once the
 * device has failed and every request was called back, -EIO (-ENODEV if it is gone).
 */
static inline int chalk_block_poll(struct chalk_block_queue *queue, unsigned max)
{
    return queue->ops->poll(queue, max);
}

/*
 * One request, from submission to the end: for set-up and for tools. Polls at most until the deadline; other
 * requests of the queue are called back meanwhile. `done` and `context` of the request are not looked at.
 * Errors: as submission (-EAGAIN: full until the deadline), or the request's own status; -ETIMEDOUT: the
 * device did not answer, and still owns the request and its segments. Both have to stay as they are until the
 * queue is closed.
 */
int chalk_block_do(struct chalk_block_queue *queue, struct chalk_block_request *request, uint64_t deadline);

/*
 * For drivers: the trace points of a request, in its queue and about to be called back with `error`; `words`
 * is how the device put it (NVMe: dword 3 of the completion), 0 if it said nothing. Off they are two
 * instructions each, which is why what they write is gathered behind a call.
 */
void chalk_block_trace_submit(const struct chalk_block_queue *queue,
                              const struct chalk_block_request *request) __attribute__((cold));
void chalk_block_trace_complete(const struct chalk_block_queue *queue,
                                const struct chalk_block_request *request, int error, uint32_t words)
    __attribute__((cold));

static inline void chalk_block_submitted(const struct chalk_block_queue *queue,
                                         const struct chalk_block_request *request)
{
    if (__builtin_expect(queue->trace != NULL, 0))
        chalk_block_trace_submit(queue, request);
}

static inline void chalk_block_completed(const struct chalk_block_queue *queue,
                                         const struct chalk_block_request *request, int error, uint32_t words)
{
    if (__builtin_expect(queue->trace != NULL, 0))
        chalk_block_trace_complete(queue, request, error, words);
}

#ifdef __cplusplus
}
#endif
#endif
