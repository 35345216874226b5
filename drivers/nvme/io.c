/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hot path of a queue pair: submit, kick, poll.
 *
 * A request costs one command written straight into the submission queue, one slot, and its share of two
 * doorbells: the submission queue's is rung once a kick, the completion queue's once a poll. No lock, no
 * allocation, no division, no register read; time is looked at only by polls that find nothing.
 *
 * What the controller writes is checked before it is used: a completion that does not belong to a command in
 * flight stops the controller, since it can no longer be known what else it would write. That a poll reaches
 * for nothing else, whatever that is, is proved: tests/proof/wp.py.
 *
 * bench/nvme counts its instructions. What is written here the longer way saves some of them, and says so.
 */
#include "nvme.h"

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#define BUSY_POLLS 4096 /* of which at least one looks at the time even though it found something */

/*@ assigns \nothing;
    ensures \result == (struct nvme_queue *)block; */
static inline struct nvme_queue *queue_of(struct chalk_block_queue *block)
{
    return (struct nvme_queue *)block;
}

/* ---- submit ---------------------------------------------------------------------------------------- */

/* Where the data of a plain request is [Base 4.1.1]. */
struct pages {
    uint64_t first, second;
};

_Static_assert(offsetof(struct chalk_block_request, op) == 0 &&
                   offsetof(struct chalk_block_request, flags) == 1 &&
                   offsetof(struct chalk_block_request, segment_count) == 2,
               "the shape of a request is its first word");
_Static_assert((CHALK_BLOCK_READ | CHALK_BLOCK_WRITE) == 1, "two operations that differ in one bit");
_Static_assert(NVME_READ - CHALK_BLOCK_READ == NVME_READ && NVME_READ - CHALK_BLOCK_WRITE == NVME_WRITE,
               "an opcode is a subtraction away");

/* A read or write, without flags that change the command, of one segment. */
static inline bool is_plain(const struct chalk_block_request *request)
{
    const uint32_t any = (CHALK_BLOCK_READ | CHALK_BLOCK_WRITE) | CHALK_BLOCK_REPEATABLE << 8;
    uint32_t shape;

    __builtin_memcpy(&shape, request, sizeof shape);
    return (shape & ~any) == 1u << 16;
}

/*
 * Whether a request is one that most are: plain, right, and in two pages at most; and then in which. If not,
 * chalk_nvme_submit_other() finds out why.
 */
static inline bool recognize(const struct nvme_queue *queue, const struct chalk_block_request *request,
                             struct pages *pages)
{
    const struct chalk_dma *segment = request->segments;
    uint32_t count = request->count;
    uint64_t bytes, last;

    if (unlikely(!is_plain(request) || count - 1 >= queue->command_blocks)) /* 0 is beyond it, too */
        return false;
    if (unlikely(request->lba > queue->block_count - count)) /* command_blocks <= block_count */
        return false;
    bytes = (uint64_t)count << queue->block_shift;
    if (unlikely(segment->size != bytes || (segment->iova & 3) != 0))
        return false;
    pages->first = segment->iova;
    pages->second = 0;
    last = pages->first + bytes - 1;
    if (unlikely((pages->first ^ last) > queue->page_mask)) {
        pages->second = last & -(uint64_t)queue->page;
        if (pages->second - pages->first > queue->page)
            return false;
    }
    nvme_lend(queue, request, NVME_READ - request->op);
    return true;
}

/* Writes the command of a plain request into entry `tail` of the submission queue. The rest is the caller's.
 */
static inline void issue_plain(struct nvme_queue *queue, struct chalk_block_request *request,
                               const struct pages *pages, uint32_t cid, uint32_t tail)
{
    struct nvme_slot *slot = &queue->slots[cid & queue->slot_mask];
    struct nvme_command *entry = &queue->commands[tail];

    slot->request = request;
    slot->fresh = cid;

    /* All of the entry, since a device may have written to it; in words, since of wider stores the compiler
     * takes more instructions to make. */
    chalk_dma_store64(&entry->head, queue->read_head + (cid << 16) - request->op);
    chalk_dma_store64(&entry->cdw2, 0);
    chalk_dma_store64(&entry->mptr, 0);
    chalk_dma_store64(&entry->prp1, pages->first);
    chalk_dma_store64(&entry->prp2, pages->second);
    chalk_dma_store64(&entry->slba, request->lba);
    chalk_dma_store64(&entry->cdw12, request->count - 1);
    chalk_dma_store64(&entry->cdw14, 0);
    chalk_dma_publish(entry, sizeof *entry);
}

static inline void issue_next(struct nvme_queue *queue, struct chalk_block_request *request,
                              const struct pages *pages)
{
    issue_plain(queue, request, pages, queue->cids[queue->in_flight++], queue->tail);
    if (unlikely(++queue->tail == queue->entries))
        queue->tail = 0;
}

/* Of a traced queue, and behind an unusual request of a batch, there are plain ones, too. */
static int submit_next(struct nvme_queue *queue, struct chalk_block_request *request)
{
    struct pages pages;

    if (queue->in_flight == queue->depth)
        return -EAGAIN;
    if (!recognize(queue, request, &pages))
        return chalk_nvme_submit_other(queue, request);
    issue_next(queue, request, &pages);
    return 0;
}

/* Goes on with a batch at a request that is unusual or traced, or finds the queue full. */
static __attribute__((noinline)) int submit_unusual(struct nvme_queue *queue,
                                                    struct chalk_block_request *const *requests,
                                                    unsigned count, unsigned taken)
{
    unsigned before = taken;
    int error = 0;

    while (taken < count && error == 0) {
        error = submit_next(queue, requests[taken]);
        if (error == 0)
            chalk_block_submitted(&queue->block, requests[taken++]);
    }
    queue->block.counters.submitted += taken - before;
    return taken != 0 ? (int)taken : error;
}

static __attribute__((noinline)) int submit_many(struct nvme_queue *queue,
                                                 struct chalk_block_request *const *requests, unsigned count)
{
    const uint16_t *cids = queue->cids + queue->in_flight; /* in locals: a store through a pointer could */
    uint32_t tail = queue->tail, taken = 0;                /* change a member, but not these */
    uint32_t limit = queue->depth - queue->in_flight;
    struct pages pages;

    if (limit > count)
        limit = count;
    if (unlikely(queue->block.trace != NULL))
        limit = 0;
    for (; taken < limit && likely(recognize(queue, requests[taken], &pages)); taken++) {
        issue_plain(queue, requests[taken], &pages, *cids++, tail);
        if (unlikely(++tail == queue->entries))
            tail = 0;
        __asm__ volatile("" ::: "memory"); /* members are read where they are needed, not kept on the stack */
    }
    queue->in_flight += taken;
    queue->tail = tail;
    queue->block.counters.submitted += taken;
    return likely(taken == count) ? (int)taken : submit_unusual(queue, requests, count, taken);
}

/* One request alone needs no loop, and that is a third of what it would cost. */
static int submit(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                  unsigned count)
{
    struct nvme_queue *queue = queue_of(block);
    struct pages pages;

    if (count != 1 || block->trace != NULL || queue->in_flight == queue->depth ||
        !recognize(queue, requests[0], &pages))
        return submit_many(queue, requests, count);
    issue_next(queue, requests[0], &pages);
    block->counters.submitted++;
    return 1;
}

/* ---- kick ------------------------------------------------------------------------------------------ */

static void kick(struct chalk_block_queue *block)
{
    struct nvme_queue *queue = queue_of(block);

    if (queue->tail == queue->rung)
        return;
    queue->rung = queue->tail;
    block->counters.doorbells++;
    chalk_mmio_write32(&queue->tail_doorbell, 0, queue->tail);
}

/* ---- poll ------------------------------------------------------------------------------------------ */

/*@ requires is_sound(queue);
    ensures is_sound(queue); */
static __attribute__((noinline)) unsigned look_at_time(struct nvme_queue *queue)
{
    uint64_t now = chalk_ticks();
    unsigned found = 0;

    if ((queue->in_flight != 0 && now >= queue->next_sweep) || nvme_is_time_to_look(queue->nvme, now) ||
        nvme_shape_is_in_doubt(queue))
        found = chalk_nvme_sweep(queue);
    chalk_nvme_limit_wait(queue);
    return found;
}

/* The request of a completion has left the device: its slot is free, and the entry read. */
/*@ requires is_sound(queue) && slot == queue->slots + (cid & queue->slot_mask) && is_taken(slot);
    assigns queue->in_flight, queue->cids[0 .. queue->depth - 1], *slot, queue->cq_head, queue->phase;
    ensures is_sound(queue);
    ensures !is_taken(slot); */
static inline void retire(struct nvme_queue *queue, struct nvme_slot *slot, uint32_t cid)
{
    nvme_slot_free(queue, slot, cid);
    if (unlikely(++queue->cq_head == queue->entries)) {
        queue->cq_head = 0;
        queue->phase ^= NVME_PHASE;
    }
}

/*
 * The slot of the next completion, if that is of a plain request in flight, without an error, and not traced:
 * then `*cid` is its identifier. If not, find_unusual() looks again.
 */
/*@ requires is_sound(queue) && \valid(cid);
    requires \separated(cid, queue, queue->slots + (0 .. queue->slot_mask));
    assigns *cid;
    ensures is_sound(queue);
    ensures \result != \null ==>
        \result == queue->slots + (*cid & queue->slot_mask) && \valid(\result->request); */
static inline struct nvme_slot *find_plain(const struct nvme_queue *queue, uint32_t *cid)
{
    const struct nvme_completion *entry = &queue->completions[queue->cq_head];
    struct nvme_slot *slot;
    uint32_t outcome, origin;

    /* The dword with the phase bit first; the others once it is known to be new [Base 3.3.3.2.2]. */
    outcome = chalk_dma_load32(&entry->outcome);
    if (unlikely(((outcome ^ queue->phase) & NVME_PHASE) != 0))
        return NULL;
    origin = chalk_dma_load32(&entry->origin);

    /* Any 16 bits, masked, are a slot; the difference is small only if it is this queue, and an entry of
     * it. */
    *cid = NVME_OUTCOME_CID(outcome);
    slot = &queue->slots[*cid & queue->slot_mask];
    if (unlikely(slot->tag != *cid || origin - queue->origin >= queue->entries ||
                 NVME_OUTCOME_FAILED(outcome) || queue->block.trace != NULL))
        return NULL;
    return slot;
}

/* Ends a request. Its owner may well submit again, and that leaves a sound queue sound. */
/*@ requires \valid(request);
    ensures \forall struct nvme_queue *queue; \old(is_sound(queue)) ==> is_sound(queue); */
static inline void call_back(struct chalk_block_request *request, int error)
{
    request->done(request, error);
}

/*
 * Takes completions, whatever they are, up to one that ends its request, which is called back. Returns false
 * if there is none, or if one is of no request in flight, and the controller has been stopped. Those before
 * it, of requests that are kept to be submitted again, have moved the head: without one that ends its request
 * nobody but the caller tells the controller of it.
 */
/*@ requires is_sound(queue);
    ensures is_sound(queue); */
static __attribute__((noinline)) bool find_unusual(struct nvme_queue *queue)
{
    queue->head_moved = false;
    /*@ loop invariant is_sound(queue) && queue == \at(queue, Pre); */
    for (;;) {
        const struct nvme_completion *entry = &queue->completions[queue->cq_head];
        uint32_t outcome = chalk_dma_load32(&entry->outcome), origin, cid = NVME_OUTCOME_CID(outcome);
        struct nvme_slot *slot = &queue->slots[cid & queue->slot_mask];
        struct chalk_block_request *request = slot->request;
        int error = 0;

        if (((outcome ^ queue->phase) & NVME_PHASE) != 0)
            return false;
        origin = chalk_dma_load32(&entry->origin);
        if ((slot->tag & ~NVME_TAG_RESULT) != cid || origin - queue->origin >= queue->entries) {
            chalk_nvme_distrust(queue, origin, outcome);
            return false;
        }
        /*@ assert is_taken(slot) && \valid(request); */
        if ((slot->tag & NVME_TAG_RESULT) != 0)
            chalk_nvme_result((struct chalk_nvme_request *)request, entry, outcome);
        retire(queue, slot, cid);
        if (NVME_OUTCOME_FAILED(outcome)) {
            error = chalk_nvme_refused(queue, slot, request, outcome);
            if (error > 0) {
                queue->head_moved = true;
                continue; /* this one is not at its end */
            }
        }
        chalk_block_completed(&queue->block, request, error, outcome);
        call_back(request, error);
        return true;
    }
}

/*@ requires is_sound(queue);
    ensures is_sound(queue); */
unsigned chalk_nvme_collect(struct nvme_queue *queue, unsigned limit)
{
    unsigned found = 0;

    /*@ loop invariant is_sound(queue) && queue == \at(queue, Pre); */
    while (found < limit && find_unusual(queue))
        found++;
    queue->block.counters.completed += found;
    return found;
}

/* Tells the controller how far completions were taken: it needs the room in the ring. */
/*@ requires is_sound(queue);
    assigns queue->block.counters;
    ensures is_sound(queue); */
static inline void ring_head(struct nvme_queue *queue)
{
    chalk_mmio_write32(&queue->head_doorbell, 0, queue->cq_head);
    queue->block.counters.doorbells++;
}

/*@ requires is_sound(queue);
    assigns queue->block.counters;
    ensures is_sound(queue); */
static inline void take(struct nvme_queue *queue, unsigned found)
{
    struct chalk_block_counters *counters = &queue->block.counters;

    counters->completed += found;
    counters->polls++;
    ring_head(queue);
}

/* No request has ended. Another core may have reset or stopped the controller. */
/*@ requires is_sound(queue);
    ensures is_sound(queue); */
static __attribute__((noinline)) int idle(struct nvme_queue *queue, unsigned max)
{
    queue->block.counters.polls++;
    if (queue->in_flight == 0)
        (void)find_unusual(queue); /* of a queue without requests any completion is a lie */
    if (unlikely(nvme_epoch(queue->nvme) != queue->epoch))
        return chalk_nvme_follow(queue, max);
    if (unlikely(queue->head_moved))
        ring_head(queue);
    return (int)look_at_time(queue);
}

/*@ requires is_sound(queue);
    ensures is_sound(queue); */
static __attribute__((noinline)) int poll_many(struct nvme_queue *queue, unsigned max)
{
    unsigned limit = max - 1 < queue->in_flight ? max : queue->in_flight,
             left; /* 0: all that there are now */

    /*@ loop invariant is_sound(queue) && queue == \at(queue, Pre); */
    for (left = limit; left != 0; left--) {
        uint32_t cid;
        struct nvme_slot *slot = find_plain(queue, &cid);

        if (likely(slot != NULL)) {
            struct chalk_block_request *request = slot->request;

            retire(queue, slot, cid);
            call_back(request, 0);
        } else if (!find_unusual(queue)) {
            break;
        }
    }
    if (unlikely(left == limit))
        return idle(queue, max);
    take(queue, limit - left);
    if (unlikely(queue->block.counters.polls % BUSY_POLLS == 0))
        return (int)(limit - left + look_at_time(queue));
    return (int)(limit - left);
}

/* As submit(): one request alone needs no loop. Nor can another be late meanwhile. */
/*@ requires is_sound((struct nvme_queue *)block);
    ensures is_sound((struct nvme_queue *)block); */
static int poll(struct chalk_block_queue *block, unsigned max)
{
    struct nvme_queue *queue = queue_of(block);
    struct chalk_block_request *request;
    struct nvme_slot *slot;
    uint32_t cid;

    if (queue->in_flight != 1 || (slot = find_plain(queue, &cid)) == NULL)
        return poll_many(queue, max);
    request = slot->request;
    retire(queue, slot, cid);
    take(queue, 1);
    call_back(request, 0);
    return 1;
}

/* ---- in debug builds ------------------------------------------------------------------------------- */

/* A poll would call it at address 0, and nothing there says whose request it was. */
#ifdef CHALK_DEBUG
static int submit_checked(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                          unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (requests[i]->done == NULL)
            chalk_misuse("NVMe %s: request %u of %u, a %s at block %llu, has no callback: `done` is NULL",
                         queue_of(block)->nvme->name, i + 1, count, chalk_block_op_name(requests[i]->op),
                         (unsigned long long)requests[i]->lba);
    return submit(block, requests, count);
}
#define SUBMIT submit_checked
#else
#define SUBMIT submit
#endif

const struct chalk_block_ops chalk_nvme_live_ops = {
    .submit = SUBMIT, .kick = kick, .poll = poll, .cancel = chalk_nvme_cancel};
const struct chalk_block_ops chalk_nvme_adaptive_ops = {
    .submit = SUBMIT, .kick = kick, .poll = chalk_nvme_poll_adaptive, .cancel = chalk_nvme_cancel};
