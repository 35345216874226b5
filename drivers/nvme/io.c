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
 */
#include "nvme.h"
#include "prp.h"

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#define BUSY_POLLS 4096 /* of which at least one looks at the time even though it found something */

static inline struct nvme_queue *queue_of(struct chalk_block_queue *block)
{
    return (struct nvme_queue *)block;
}

_Static_assert(NVME_READ - CHALK_BLOCK_READ == NVME_READ && NVME_READ - CHALK_BLOCK_WRITE == NVME_WRITE,
               "an opcode is a subtraction away");

/* ---- submit ---------------------------------------------------------------------------------------- */

/* Writes a command for `request` into the next entry of the submission queue. The doorbell is kick()'s. */
static inline void issue(struct nvme_queue *queue, struct chalk_block_request *request, uint32_t opcode,
                         uint64_t lba, uint32_t last_block, struct nvme_prp prp)
{
    struct nvme_slot *slot = &queue->slots[queue->free[--queue->free_count]];

    queue->commands[queue->tail] = (struct nvme_command){
        .cdw0 = opcode | (uint32_t)slot->cid << 16,
        .nsid = queue->nsid,
        .prp1 = prp.prp1,
        .prp2 = prp.prp2,
        .slba = lba,
        .cdw12 = last_block,
    };
    queue->tail = queue->tail + 1 == queue->entries ? 0 : queue->tail + 1;
    slot->request = request;
    slot->age = 0;
}

/* A flush, or nothing that there is. */
static __attribute__((noinline)) int submit_other(struct nvme_queue *queue,
                                                  struct chalk_block_request *request)
{
    if (request->op != CHALK_BLOCK_FLUSH)
        return -EINVAL;
    issue(queue, request, NVME_FLUSH, 0, 0, (struct nvme_prp){0, 0});
    return 0;
}

/* A read or write whose data is in more than two pages: they go into the list of the slot that comes next. */
static __attribute__((noinline)) int
submit_list(struct nvme_queue *queue, struct chalk_block_request *request, uint32_t opcode, uint64_t bytes)
{
    size_t offset = (size_t)queue->free[queue->free_count - 1] << queue->list_shift;
    struct nvme_prp prp;
    int error;

    error =
        chalk_nvme_prp_list(request->segments, request->segment_count, bytes, queue->page,
                            (uint64_t *)((char *)queue->lists + offset), queue->lists_iova + offset, &prp);
    if (error != 0)
        return error;
    for (unsigned i = 0; i < request->segment_count; i++)
        chalk_grant_check(queue->nvme->domain, request->segments[i].iova, request->segments[i].size);
    issue(queue, request, opcode, request->lba, request->count - 1, prp);
    return 0;
}

static inline int submit_one(struct nvme_queue *queue, struct chalk_block_request *request)
{
    const struct chalk_block_info *info = &queue->block.info;
    uint64_t bytes = (uint64_t)request->count << queue->block_shift;
    struct nvme_prp prp;
    uint32_t opcode;

    if (unlikely(queue->free_count == 0))
        return -EAGAIN;
    if (unlikely(request->op > CHALK_BLOCK_WRITE))
        return submit_other(queue, request);
    if (unlikely(request->count - 1 >= info->max_blocks)) /* 0 is beyond it, too */
        return -EINVAL;
    if (unlikely(request->lba > info->block_count - request->count)) /* max_blocks <= block_count */
        return -ERANGE;
    opcode = NVME_READ - request->op;
    if (unlikely(request->segment_count != 1 || !nvme_prp_pair(request->segments, bytes, queue->page, &prp)))
        return submit_list(queue, request, opcode, bytes);
    chalk_grant_check(queue->nvme->domain, request->segments->iova, bytes);
    issue(queue, request, opcode, request->lba, request->count - 1, prp);
    return 0;
}

static int submit(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                  unsigned count)
{
    struct nvme_queue *queue = queue_of(block);
    unsigned taken = 0;
    int error = 0;

    while (taken < count && (error = submit_one(queue, requests[taken])) == 0) {
        chalk_block_submitted(block, requests[taken]);
        taken++;
    }
    block->counters.submitted += taken;
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
    if (queue->free_count != queue->block.info.depth && chalk_ticks() >= queue->next_sweep &&
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
    unsigned limit = max - 1 < block->info.depth ? max : block->info.depth, found = 0; /* 0: all */

    block->counters.polls++;
    while (found < limit) {
        const struct nvme_completion *entry = &queue->completions[queue->head];
        struct chalk_block_request *request;
        struct nvme_slot *slot;
        uint32_t outcome, origin, index;
        int error;

        /* The dword with the phase bit first; the others once it is known to be new [Base 3.3.3.2.2]. */
        outcome = chalk_dma_load32(&entry->outcome);
        if (NVME_OUTCOME_PHASE(outcome) != queue->phase)
            break;
        origin = chalk_dma_load32(&entry->origin);

        /* Any 16 bits, masked, are a slot; the difference is small only if it is this queue, and an entry of
         * it. */
        index = outcome & queue->slot_mask;
        slot = &queue->slots[index];
        request = slot->request;
        if (unlikely(slot->cid != NVME_OUTCOME_CID(outcome) || request == NULL ||
                     origin - queue->origin >= queue->entries)) {
            chalk_nvme_distrust(queue, origin, outcome);
            break;
        }
        slot->request = NULL;
        slot->cid = (uint16_t)(slot->cid + queue->slot_mask + 1) & 0x7fff;
        queue->free[queue->free_count++] = (uint16_t)index;
        if (++queue->head == queue->entries) {
            queue->head = 0;
            queue->phase ^= 1;
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
    chalk_mmio_write32(&queue->doorbells, queue->head_doorbell, queue->head);
    if (unlikely(block->counters.polls % BUSY_POLLS == 0))
        look_at_time(queue);
    return (int)found;
}

const struct chalk_block_ops chalk_nvme_live_ops = {.submit = submit, .kick = kick, .poll = chalk_nvme_poll};
