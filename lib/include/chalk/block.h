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
 * Interrupts only end a wait: with or without them, completions are found by chalk_block_poll(). An owner
 * that looks at `may_wait` and `wait_ns` whenever that finds nothing is right in every mode.
 */
#ifndef CHALK_BLOCK_H
#define CHALK_BLOCK_H

#include <chalk/dma.h>
#include <chalk/error.h>
#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a request does. Which of them a device has is in struct chalk_block_info. */
enum chalk_block_op {
    CHALK_BLOCK_READ,
    CHALK_BLOCK_WRITE,
    CHALK_BLOCK_FLUSH,   /* what was written before it is on the medium when it ends; no blocks, no data */
    CHALK_BLOCK_DISCARD, /* the blocks' content is not needed any more, and undefined until written; no data
                          */
    CHALK_BLOCK_WRITE_ZEROES, /* no data */
    CHALK_BLOCK_COMPARE,      /* with the data: -EILSEQ if they differ */
    CHALK_BLOCK_VERIFY,       /* whether the blocks can be read; no data */
    /* The request is the head of a struct of the driver's own header, which says the rest; for NVMe that is
     * struct chalk_nvme_request. `lba` and `count` are not looked at, segments may be none. */
    CHALK_BLOCK_DRIVER,
};

/* In `flags` of a request, where the device has them. */
#define CHALK_BLOCK_FUA        0x01 /* a write ends when it is on the medium; a read comes from there */
/*
 * The caller vouches that the request may be done twice: it overlaps no other one under way, and nobody minds
 * the old data coming back for a moment. Then it outlives a reset of the device, and an answer that says that
 * it failed but may succeed a little later. Without that word nothing that changes blocks is done twice: a
 * write whose outcome a reset made unknown ends with -EIO, and one that the device says has failed ends with
 * that error, unless the answer says that nothing was carried out (namespace not ready, path in transition).
 * Reads, flushes, comparisons and verifications need no such word. Any device takes it.
 */
#define CHALK_BLOCK_REPEATABLE 0x02

/*
 * One cache line. What is not named in an initializer is zero, and that is what most requests want.
 */
struct chalk_block_request {
    uint8_t op; /* enum chalk_block_op */
    uint8_t flags;
    uint16_t segment_count;
    uint32_t count; /* blocks; 0 for a flush */
    uint64_t lba;
    /*
     * Where the data is: `segment_count` pieces of shared memory whose sizes add up to count blocks. What
     * alignment they need is in struct chalk_block_info. One block can be in at most 256 pieces, more blocks
     * in as many as segment_count can say. The array stays valid until the callback.
     */
    const struct chalk_dma *segments;
    /* Where the blocks' metadata is, `count` times info.metadata_size bytes at a multiple of 4. Looked at
     * only where that is not 0. */
    const struct chalk_dma *metadata;
    /* Called from chalk_block_poll(), once: status 0 or a negative errno. It may submit again. */
    void (*done)(struct chalk_block_request *request, int status);
    void *context; /* the caller's */
    void *link;    /* the driver's, from submission to callback */
    /* Of protection information, where the device keeps it: the bits of `tag` in `tag_mask` are written with
     * every block, and compared when one is read. */
    uint16_t tag, tag_mask;
};

/* What the device is. Constant while it is open; but a reset of the device can take operations away, and
 * lower what may be in one command or needs no alignment, if it has started other firmware. */
struct chalk_block_info {
    uint64_t block_count;
    uint32_t block_size;     /* bytes */
    uint32_t max_blocks;     /* in one request with data */
    uint32_t command_blocks; /* in one command of the device: a longer request becomes several */
    uint32_t segment_align;  /* bytes: of the first segment's address, and of every size */
    /* Bytes: all segments but the first start, all but the last end, on a multiple. 1: wherever they like. */
    uint32_t boundary;
    unsigned depth;                               /* requests in flight at once */
    uint32_t operations;                          /* 1 << enum chalk_block_op, of those that it has */
    uint32_t flags;                               /* that it has */
    uint32_t max_discard, max_zeroes, max_verify; /* blocks in one request; 0: it has no such operation */
    uint16_t metadata_size;                       /* bytes that are moved beside each block */
    bool volatile_cache;                          /* a flush is needed for durability */
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
    int (*cancel)(struct chalk_block_queue *, struct chalk_block_request *); /* NULL: it cannot */
};

/* The head of every driver's queue: a cache line that requests need, and one that they do not. */
struct chalk_block_queue {
    const struct chalk_block_ops *ops;
    struct chalk_block_counters counters;
    /* Where its requests are traced, the ring of the core that owns it; NULL: nowhere. The owner's to set. */
    struct chalk_trace *trace;
    /* Goes up with each interrupt of its vector, which others may share (see chalk_vector_attach()). NULL: it
     * has none. */
    const CHALK_ATOMIC(uint32_t) *interrupts;
    struct chalk_block_info info;
    /* Whether an interrupt tells its owner of what has finished: so that after a poll that found nothing it
     * may call chalk_core_wait(), with the event word that it read before. If not, it goes on polling. */
    bool may_wait;
    /* For how long at most, after a poll that found nothing, which sets it; also when no request is under
     * way: no interrupt tells that one is late, or that the device is gone; a poll finds it. 0: for ever. */
    uint64_t wait_ns;
    unsigned given_up; /* requests that chalk_block_do() and chalk_block_await() wait for no longer */
};

/*
 * Submits up to `count` requests, in order, and returns how many were taken: fewer than asked when the queue
 * is full, or when a request is wrong and it is not the first. Errors, when the first one is not taken:
 * -EAGAIN (full), -EINVAL (unaligned or wrong segments, or too many for a block; no
 * blocks, or too many), -ERANGE (beyond the last
 * block), -ENOTSUP (an operation or a flag that the device does not have), -EIO (the device has failed). What
 * is wrong with a request that gets -EINVAL is logged: in release builds the first time in a queue, in debug
 * and instrumented ones every time. Nothing reaches the device before chalk_block_kick(). Costs one indirect
 * call for all of them.
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
 * Calls back at most `max` finished requests (0: all that are there now). Returns how many, of one that
 * became several commands each of these; or, once the device has failed and every request was called back,
 * -EIO (-ENODEV if it is gone).
 */
static inline int chalk_block_poll(struct chalk_block_queue *queue, unsigned max)
{
    return queue->ops->poll(queue, max);
}

/*
 * Asks for the end of one request that was submitted and not called back. It is still called back, once, from
 * chalk_block_poll(): with -ECANCELED, or with what it came to in spite of that; until then it and its
 * segments stay the device's. Returns 0; -ENOENT (there is no such request under way); or -ENOTSUP (this
 * device cannot, or has failed and is about to call everything back).
 */
static inline int chalk_block_cancel(struct chalk_block_queue *queue, struct chalk_block_request *request)
{
    return queue->ops->cancel != NULL ? queue->ops->cancel(queue, request) : -ENOTSUP;
}

/*
 * One request, from submission to the end: for set-up and for tools. Polls at most until the deadline; other
 * requests of the queue are called back meanwhile. `done` and `context` of the request are not looked at.
 * Returns 0, the request's own status, or the errors of submission (-EAGAIN: the queue was full until the
 * deadline).
 *
 * -ETIMEDOUT: the deadline passed before the device answered. The device still owns the request and its
 * segments: do not change, free or submit them. To get them back call this function with the same request
 * again. It then asks the device to end the request, and returns -EBUSY as long as the device has it, even if
 * the request was filled in anew; else it carries the request out. Closing the queue releases it, too.
 */
int chalk_block_do(struct chalk_block_queue *queue, struct chalk_block_request *request, uint64_t deadline);

/* What the operation is called in messages; never NULL. */
const char *chalk_block_op_name(unsigned op);

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
