/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hot path of a queue pair: submit, kick, poll.
 *
 * A request costs one command written straight into the submission queue, one slot, and its share of two
 * doorbells: the submission queue's is rung once a kick, the completion queue's once a poll. No lock, no
 * allocation, no division, no register read; time is looked at only by polls that find nothing.
 *
 * What the controller writes is checked before it is used: a completion that does not belong to a command in
 * flight stops the controller, since it can no longer be known what else it would write.
 *
 * bench/nvme counts its instructions. What is written here the longer way saves some of them, and says so.
 */
#include "nvme.h"

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#define BUSY_POLLS 4096 /* of which at least one looks at the time even though it found something */

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
    uint32_t count = request->count;
    uint64_t bytes = (uint64_t)count << queue->block_shift, offset_mask = queue->page - 1, last;

    if (unlikely(!is_plain(request) || count - 1 >= queue->command_blocks)) /* 0 is beyond it, too */
        return false;
    if (unlikely(request->lba > queue->block_count - count)) /* command_blocks <= block_count */
        return false;
    pages->first = request->segments->iova;
    pages->second = 0;
    if (unlikely((pages->first & 3) != 0 || request->segments->size != bytes))
        return false;
    last = pages->first + bytes - 1;
    if (unlikely((pages->first ^ last) > offset_mask)) {
        pages->second = (pages->first | offset_mask) + 1;
        if (last - pages->second > offset_mask)
            return false;
    }
    chalk_grant_check(queue->nvme->domain, pages->first, bytes);
    return true;
}

static int submit(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                  unsigned count)
{
    struct nvme_queue *queue = queue_of(block);
    uint32_t free_before = queue->free_count;
    unsigned taken = 0;
    int error = count != 0 ? -EAGAIN : 0;

    while (taken < count && queue->free_count != 0) {
        struct chalk_block_request *request = requests[taken];
        struct pages pages;

        if (likely(recognize(queue, request, &pages))) {
            uint32_t cid = queue->free[--queue->free_count];
            struct nvme_slot *slot = &queue->slots[cid & queue->slot_mask];
            struct nvme_command *entry = &queue->commands[queue->tail];

            /* All of the entry, since a device may have written to it; in words, or the compiler takes more
             * instructions to make vectors of them. */
            chalk_dma_store64(&entry->head, queue->head | cid << 16 | (uint32_t)(NVME_READ - request->op));
            chalk_dma_store64(&entry->cdw2, 0);
            chalk_dma_store64(&entry->mptr, 0);
            chalk_dma_store64(&entry->prp1, pages.first);
            chalk_dma_store64(&entry->prp2, pages.second);
            chalk_dma_store64(&entry->slba, request->lba);
            chalk_dma_store64(&entry->cdw12, request->count - 1);
            chalk_dma_store64(&entry->cdw14, 0);
            slot->request = request;
            slot->fresh = cid;
            queue->tail = queue->tail + 1 == queue->entries ? 0 : queue->tail + 1;
        } else {
            error = chalk_nvme_submit_other(queue, request);
            if (error != 0)
                break;
        }
        taken++;
    }
    if (unlikely(block->trace != NULL))
        for (unsigned i = 0; i < taken; i++)
            chalk_block_trace_submit(block, requests[i]);
    block->counters.submitted += free_before - queue->free_count;
    return taken != 0 ? (int)taken : error;
}

/* ---- kick ------------------------------------------------------------------------------------------ */

static void kick(struct chalk_block_queue *block)
{
    struct nvme_queue *queue = queue_of(block);

    if (queue->tail == queue->rung)
        return;
    queue->rung = queue->tail;
    block->counters.doorbells++;
    chalk_mmio_write32(&queue->doorbells, queue->tail_doorbell, queue->tail);
}

/* ---- poll ------------------------------------------------------------------------------------------ */

static inline void look_at_time(struct nvme_queue *queue)
{
    if (queue->free_count != queue->depth && chalk_ticks() >= queue->next_sweep &&
        nvme_state(queue->nvme) == NVME_LIVE)
        chalk_nvme_sweep(queue);
}

static inline int idle(struct nvme_queue *queue, unsigned max)
{
    if (unlikely(nvme_state(queue->nvme) == NVME_STOPPED))
        return chalk_nvme_give_up(queue, max);
    look_at_time(queue);
    return 0;
}

int chalk_nvme_poll(struct chalk_block_queue *block, unsigned max)
{
    struct nvme_queue *queue = queue_of(block);
    unsigned limit = max - 1 < queue->depth ? max : queue->depth, found = 0; /* 0: all */

    block->counters.polls++;
    while (found < limit) {
        const struct nvme_completion *entry = &queue->completions[queue->cq_head];
        struct chalk_block_request *request;
        struct nvme_slot *slot;
        uint32_t outcome, origin, cid;
        int error;

        /* The dword with the phase bit first; the others once it is known to be new [Base 3.3.3.2.2]. */
        outcome = chalk_dma_load32(&entry->outcome);
        if (((outcome ^ queue->phase) & NVME_PHASE) != 0)
            break;
        origin = chalk_dma_load32(&entry->origin);

        /* Any 16 bits, masked, are a slot; the difference is small only if it is this queue, and an entry of
         * it. */
        cid = NVME_OUTCOME_CID(outcome);
        slot = &queue->slots[cid & queue->slot_mask];
        if (unlikely(slot->tag != cid || origin - queue->origin >= queue->entries) &&
            (origin - queue->origin >= queue->entries ||
             !chalk_nvme_other_completed(queue, slot, entry, outcome))) {
            chalk_nvme_distrust(queue, origin, outcome);
            break;
        }
        request = slot->request;
        cid = (cid + queue->slot_mask + 1) & 0x7fff;
        slot->request = NULL;
        slot->tag = cid | NVME_TAG_FREE;
        queue->free[queue->free_count++] = (uint16_t)cid;
        if (++queue->cq_head == queue->entries) {
            queue->cq_head = 0;
            queue->phase ^= NVME_PHASE;
        }
        found++;

        error = likely(!NVME_OUTCOME_FAILED(outcome)) ? 0 : chalk_nvme_refused(queue, request, outcome);
        chalk_block_completed(block, request, error, outcome);
        request->done(request, error);
    }
    if (found == 0)
        return idle(queue, max);

    block->counters.completed += found;
    block->counters.doorbells++;
    chalk_mmio_write32(&queue->doorbells, queue->head_doorbell, queue->cq_head);
    if (unlikely(block->counters.polls % BUSY_POLLS == 0))
        look_at_time(queue);
    return (int)found;
}

const struct chalk_block_ops chalk_nvme_live_ops = {.submit = submit, .kick = kick, .poll = chalk_nvme_poll};
